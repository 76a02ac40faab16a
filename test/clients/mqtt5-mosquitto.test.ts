/** `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr` with MQTT 5, as devices and services. */

import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { MosquittoClients, messageLines } from '../fixtures/mosquitto-clients.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients, runClient } from '../fixtures/real-client.ts';

const V5 = ['-V', '5'];
const V4 = ['-V', 'mqttv311'];

describeWithClients('the Mosquitto clients with MQTT 5', ['mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'], () => {
  let fleet: TestFleet;
  let clients: MosquittoClients;
  beforeAll(async () => {
    fleet = await startFleet();
    clients = new MosquittoClients(fleet);
  });
  afterAll(() => fleet.stop());

  const properties = (...list: readonly (readonly [name: string, ...values: string[]])[]) =>
    list.flatMap((property) => ['-D', 'PUBLISH', ...property]);

  it('carry every property from a device to a service, and the journal stores what it says', async () => {
    const gateway = await clients.device('m5-properties');
    const reader = await clients.service('m5-reader');
    const reading = await clients.subscribe(
      reader,
      'devices/+/telemetry/+',
      [...V5, '-q', '1', '-C', '1', '-D', 'SUBSCRIBE', 'subscription-identifier', '42'],
      '%t|%C|%D|%F|%R|%S|%P|%p',
    );
    const sent = await clients.publish(gateway, 'devices/m5-properties/telemetry/level', [
      ...V5,
      ...properties(
        ['content-type', 'text/plain'],
        ['payload-format-indicator', '1'],
        ['response-topic', 'devices/m5-properties/responses/r1'],
        ['correlation-data', 'c1'],
        ['user-property', 'site', 'north'],
        ['user-property', 'unit', 'C'],
      ),
      ...['-q', '1', '-m', 'warm ä'],
    ]);
    expect(sent).toMatchObject({ status: 0, stderr: '' });
    const [line] = messageLines(await reading.ended, 'devices/');
    expect(line).toBe(
      'devices/m5-properties/telemetry/level|text/plain|c1|1|devices/m5-properties/responses/r1|42|site:north unit:C|warm ä',
    );
    const [stored] = await fleet.operator.queryTelemetry({ device: 'm5-properties' as DeviceId });
    expect(stored).toMatchObject({
      contentType: 'text/plain',
      payloadFormatIndicator: 1,
      userProperties: [
        { name: 'site', value: 'north' },
        { name: 'unit', value: 'C' },
      ],
    });
  });

  it.each([
    ['5', '3.1.1', V5, V4],
    ['3.1.1', '5', V4, V5],
  ])(
    'carry QoS 0, 1 and 2 from a device of version %s to a service of version %s',
    async (_a, _b, ofDevice, ofService) => {
      const gateway = await clients.device(`m5-qos-${ofDevice[1]}`);
      const reader = await clients.service(`m5-qos-reader-${ofService[1]}`);
      const reading = await clients.subscribe(reader, `devices/${gateway.id}/telemetry/+`, [
        ...ofService,
        ...['-q', '2', '-C', '3'],
      ]);
      for (const qos of ['0', '1', '2']) {
        const args = [...ofDevice, '-q', qos, '-m', qos];
        expect(await clients.publish(gateway, `devices/${gateway.id}/telemetry/level`, args)).toMatchObject({
          status: 0,
        });
      }
      const lines = messageLines(await reading.ended, 'devices/');
      expect(lines).toEqual(['0', '1', '2'].map((qos) => `devices/${gateway.id}/telemetry/level ${qos} 0 ${qos}`));
    },
  );

  it.each(['1', '2'])('report a topic that is not allowed with QoS %s, and stay connected', async (qos) => {
    const gateway = await clients.device(`m5-rogue${qos}`);
    const outcome = await clients.publish(gateway, 'devices/another/telemetry/state', [
      ...[...V5, '-q', qos],
      ...['-m', 'forged', '--repeat', '2'],
    ]);
    expect(outcome.status).toBe(0); // both were answered, on one connection
    expect(outcome.stderr.match(/Not authorized/g)).toHaveLength(2);
    expect(await fleet.operator.queryTelemetry({ device: 'another' as DeviceId })).toEqual([]);
  });

  it('report why a subscription is denied', async () => {
    const gateway = await clients.device('m5-nosy');
    const outcome = await clients.listen(gateway, 'devices/+/telemetry/+', [...V5, '-W', '10']).ended;
    expect(outcome.stdout + outcome.stderr).toMatch(/Subscribed \(mid: 1\): 135/);
    expect(outcome.stderr).toContain('All subscription requests were denied.');
  });

  it('are told that their device is revoked', async () => {
    const gateway = await clients.device('m5-lost');
    const listening = await clients.subscribe(gateway, 'devices/m5-lost/commands/+/+', [...V5, '-q', '1']);
    await fleet.operator.revokeDevices({ ids: ['m5-lost' as DeviceId], reason: 'keyCompromise' });
    await listening.line(/Received DISCONNECT \(152\)/i);
    await listening.ended;
  });

  it('divide the messages of a shared subscription among three services', async () => {
    const gateway = await clients.device('m5-shared');
    const filter = '$share/workers/devices/m5-shared/telemetry/+';
    const listening = [];
    for (const name of ['m5-worker-a', 'm5-worker-b', 'm5-worker-c']) {
      listening.push(
        await clients.subscribe(await clients.service(name), filter, [...V5, '-q', '1', '-C', '4'], '%t %p'),
      );
    }
    for (let n = 1; n <= 12; n += 1) {
      await clients.publish(gateway, 'devices/m5-shared/telemetry/level', [...V5, '-q', '1', '-m', String(n)]);
    }
    const heard = await Promise.all(listening.map(async ({ ended }) => messageLines(await ended, 'devices/')));
    expect(heard.map(({ length }) => length)).toEqual([4, 4, 4]);
    const numbers = heard.flat().map((line) => Number(line.split(' ')[1]));
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, index) => index + 1));
  });

  it('have the session of a device expire when it said so, and not before', async () => {
    const gateway = await clients.device('m5-sleeper');
    const operations = await clients.service('m5-operations');
    const filter = 'devices/m5-sleeper/commands/+/+';
    const session = [...V5, '-c', '-x', '3600', '-q', '1'];
    expect(await (await clients.subscribe(gateway, filter, [...session, '-E'])).ended).toMatchObject({ status: 0 });
    const command = 'devices/m5-sleeper/commands/reboot/r1';
    const expiring = properties(['message-expiry-interval', '100']);
    await clients.publish(operations, command, [...V5, ...expiring, '-q', '1', '-m', 'now']);
    const back = await clients.listen(gateway, filter, [...session, '-C', '1'], '%t %E %p').ended;
    const [line] = messageLines(back, 'devices/');
    expect(line).toMatch(/^devices\/m5-sleeper\/commands\/reboot\/r1 (9\d|100) now$/);

    // Without an expiry the session ends with its connection.
    expect(await (await clients.subscribe(gateway, filter, [...V5, '-q', '1', '-E'])).ended).toMatchObject({
      status: 0,
    });
    const unheard = await clients.publish(operations, command, [...V5, '-q', '1', '-m', 'unheard', '-d']);
    expect(unheard.stdout + unheard.stderr).toMatch(/PUBACK \(Mid: 1, RC:16\)/);
  });

  it('send a request with a response topic, and receive the answer of the device', async () => {
    const device = await connectMqtt(await fleet.enroll('m5-responder'), { protocolVersion: 5 });
    await device.subscribeAsync('devices/m5-responder/commands/+/+', { qos: 1 });
    device.on('message', (_topic, payload, { properties: request }) => {
      const { responseTopic = '', correlationData } = request ?? {};
      device.publish(responseTopic, `done: ${payload}`, {
        qos: 1,
        ...(correlationData !== undefined && { properties: { correlationData } }),
      });
    });
    const caller = await clients.service('m5-caller');
    const outcome = await runClient(
      'mosquitto_rr',
      [
        ...[...clients.broker(), ...clients.own(caller), ...V5, '-q', '1'],
        ...['-t', 'devices/m5-responder/commands/reboot/r1', '-e', 'devices/m5-responder/responses/r1'],
        ...['-D', 'PUBLISH', 'correlation-data', 'c7', '-m', 'now', '-F', '%t %D %p'],
      ],
      { directory: caller.directory },
    );
    expect(outcome).toMatchObject({ status: 0, stdout: 'devices/m5-responder/responses/r1 c7 done: now\n' });
  });

  it('publish a will with a delay after its delay, with its properties', async () => {
    const gateway = await clients.device('m5-wills');
    const reader = await clients.service('m5-will-reader');
    const reading = await clients.subscribe(reader, 'devices/m5-wills/events/+', [...V5, '-C', '1'], '%t %C %P %p');
    const running = await clients.subscribe(gateway, 'devices/m5-wills/commands/+/+', [
      ...[...V5, '-c', '-x', '60'],
      ...['--will-topic', 'devices/m5-wills/events/gone', '--will-payload', 'power', '--will-qos', '1'],
      ...['-D', 'WILL', 'will-delay-interval', '1', '-D', 'WILL', 'content-type', 'text/plain'],
      ...['-D', 'WILL', 'user-property', 'site', 'north'],
    ]);
    running.kill();
    expect(messageLines(await reading.ended, 'devices/')).toEqual([
      'devices/m5-wills/events/gone text/plain site:north power',
    ]);
  });
});
