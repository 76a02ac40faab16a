/** `mosquitto_pub` and `mosquitto_sub` as devices and services: what the broker allows, and how they report a refusal. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { MosquittoClients, messageLines } from '../fixtures/mosquitto-clients.ts';
import { describeWithClients, runClient } from '../fixtures/real-client.ts';
import { makeScriptedAuthority } from '../fixtures/scripted-authority.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

/** Exit statuses of the Mosquitto clients: CONNACK codes of MQTT 3.1.1, and libmosquitto's own. */
const STATUS = { ok: 0, version: 1, clientId: 2, notAuthorized: 5 };

/** Depends on the state of the client when the connection closed: waiting, inside a TLS record, or writing. */
const DISCONNECTED = [7, 8, 14];

describeWithClients('mosquitto_pub and mosquitto_sub', ['mosquitto_pub', 'mosquitto_sub', 'openssl'], () => {
  let fleet: TestFleet;
  let clients: MosquittoClients;
  beforeAll(async () => {
    fleet = await startFleet();
    clients = new MosquittoClients(fleet);
  });
  afterAll(() => fleet.stop());

  const stored = async (id: string) => {
    const messages = await fleet.operator.queryTelemetry({ device: id as DeviceId });
    return messages.map(({ stream, qos }) => `${stream} ${qos}`);
  };

  it('carry QoS 0, 1 and 2 from a device to a service that subscribed to all of them', async () => {
    const gateway = await clients.device('mosquitto-qos');
    const reader = await clients.service('reader');
    const reading = await clients.subscribe(reader, 'devices/+/telemetry/+', ['-q', '2', '-C', '3']);
    for (const qos of ['0', '1', '2']) {
      const sent = await clients.publish(gateway, `devices/mosquitto-qos/telemetry/level${qos}`, [
        '-q',
        qos,
        '-m',
        `ä${qos}`,
      ]);
      expect(sent).toMatchObject({ status: STATUS.ok, stderr: '' });
    }
    const outcome = await reading.ended;
    expect(outcome.status).toBe(STATUS.ok);
    expect(messageLines(outcome, 'devices/')).toEqual([
      'devices/mosquitto-qos/telemetry/level0 0 0 ä0',
      'devices/mosquitto-qos/telemetry/level1 1 0 ä1',
      'devices/mosquitto-qos/telemetry/level2 2 0 ä2',
    ]);
    expect(await stored('mosquitto-qos')).toEqual(['level0 0', 'level1 1', 'level2 2']);
  });

  it('carry a large message whole, and none that is too large', async () => {
    const gateway = await clients.device('mosquitto-large');
    const file = join(gateway.directory, 'payload');
    const topic = 'devices/mosquitto-large/telemetry/image';
    writeFileSync(file, Buffer.alloc(200_000, 0xff));
    expect(await clients.publish(gateway, topic, ['-q', '1', '-f', file])).toMatchObject({ status: STATUS.ok });
    const [message] = await fleet.operator.queryTelemetry({ device: 'mosquitto-large' as DeviceId });
    expect(Buffer.from(message?.base64 ?? '', 'base64')).toHaveLength(200_000);

    writeFileSync(file, Buffer.alloc(300_000, 0xff));
    expect(DISCONNECTED).toContain((await clients.publish(gateway, topic, ['-q', '1', '-f', file])).status);
    expect(await stored('mosquitto-large')).toEqual(['image 1']);
  });

  it('have commands queued for a device that is offline', async () => {
    const gateway = await clients.device('mosquitto-sleeper');
    const operations = await clients.service('operations');
    const filter = 'devices/mosquitto-sleeper/commands/+/+';
    const leaving = await clients.subscribe(gateway, filter, ['-c', '-q', '1', '-E']);
    expect(await leaving.ended).toMatchObject({ status: STATUS.ok });
    const sent = await clients.publish(operations, 'devices/mosquitto-sleeper/commands/reboot/r1', [
      '-q',
      '1',
      '-m',
      'now',
    ]);
    expect(sent).toMatchObject({ status: STATUS.ok });
    const back = clients.listen(gateway, filter, ['-c', '-q', '1', '-C', '1']);
    expect(messageLines(await back.ended, 'devices/')).toEqual([
      'devices/mosquitto-sleeper/commands/reboot/r1 1 0 now',
    ]);
  });

  it('receive the will of a device that lost power', async () => {
    const gateway = await clients.device('mosquitto-wills');
    const reader = await clients.service('will-reader');
    const reading = await clients.subscribe(reader, 'devices/+/events/+', ['-C', '1']);
    const will = ['--will-topic', 'devices/mosquitto-wills/events/gone', '--will-payload', 'power', '--will-qos', '1'];
    const running = await clients.subscribe(gateway, 'devices/mosquitto-wills/commands/+/+', will);
    running.kill();
    expect(messageLines(await reading.ended, 'devices/')).toEqual(['devices/mosquitto-wills/events/gone 0 0 power']);
  });

  it('receive retained messages', async () => {
    const gateway = await clients.device('mosquitto-retains');
    const reader = await clients.service('twin-reader');
    const topic = 'devices/mosquitto-retains/twin/reported';
    expect(await clients.publish(gateway, topic, ['-r', '-q', '1', '-m', '{"on":true}'])).toMatchObject({
      status: STATUS.ok,
    });
    const reading = clients.listen(reader, 'devices/+/twin/reported', ['-q', '1', '-C', '1']);
    expect(messageLines(await reading.ended, 'devices/')).toEqual([`${topic} 1 1 {"on":true}`]);
  });

  it.each(['tlsv1.2', 'tlsv1.3'])('connect with %s', async (version) => {
    const gateway = await clients.device(`mosquitto-${version}`);
    const args = ['--tls-version', version, '-q', '1', '-m', 'x'];
    const sent = await clients.publish(gateway, `devices/${gateway.id}/telemetry/state`, args);
    expect(sent).toMatchObject({ status: STATUS.ok });
  });

  it.each(['0', '1', '2'])('are disconnected when they publish to a denied topic with QoS %s', async (qos) => {
    const victim = await clients.device(`mosquitto-victim${qos}`);
    const gateway = await clients.device(`mosquitto-rogue${qos}`);
    const reader = await clients.service(`rogue-reader${qos}`);
    const reading = await clients.subscribe(reader, 'devices/+/telemetry/+', ['-C', '1']);
    const outcome = await clients.publish(gateway, `devices/${victim.id}/telemetry/state`, ['-q', qos, '-m', 'forged']);
    // A sender of QoS 0 waits for no response and reports nothing.
    expect(qos === '0' ? [STATUS.ok] : DISCONNECTED).toContain(outcome.status);
    await clients.publish(victim, `devices/${victim.id}/telemetry/state`, ['-q', '1', '-m', 'true']);
    expect(messageLines(await reading.ended, 'devices/')).toEqual([`devices/${victim.id}/telemetry/state 0 0 true`]);
  });

  it.each(['devices/mosquitto-other/commands/+/+', 'devices/+/telemetry/+', '#', '$SYS/#', '$share/g/devices/#'])(
    'are denied a subscription to %s',
    async (filter) => {
      const gateway = await clients.device(`mosquitto-nosy${filter.length}`);
      const { directory } = gateway;
      const args = [...clients.broker(), ...clients.own(gateway), '-t', filter, '-W', '10'];
      const outcome = await runClient('mosquitto_sub', args, { directory });
      expect(outcome.stderr).toContain('All subscription requests were denied.');
    },
  );

  it('are refused with a client id that is not the device’s', async () => {
    const gateway = await clients.device('mosquitto-honest');
    const outcome = await clients.publish(
      { ...gateway, id: 'mosquitto-liar' },
      'devices/mosquitto-honest/telemetry/state',
      ['-q', '1', '-m', 'x'],
    );
    expect(outcome).toMatchObject({ status: STATUS.clientId });
    expect(outcome.stderr).toContain('identifier rejected');
  });

  it('connect as a service with its name and a suffix as client id, and with no other', async () => {
    const dashboard = await clients.service('dashboard');
    const topic = 'devices/mosquitto-any/commands/blink/r1';
    const as = (id: string) => clients.publish({ ...dashboard, id }, topic, ['-q', '1', '-m', 'x']);
    expect(await as('dashboard-2')).toMatchObject({ status: STATUS.ok });
    expect(await as('dashboard2')).toMatchObject({ status: STATUS.clientId });
  });

  it('are refused without a certificate', async () => {
    const directory = temporaryDirectory();
    const args = [...clients.broker(), '--cafile', fleet.trustBundle, '-i', 'nobody', '-t', 'x', '-m', 'x', '-q', '1'];
    expect(await runClient('mosquitto_pub', args, { directory })).toMatchObject({ status: STATUS.notAuthorized });
  });

  it('are refused with a certificate of another CA', async () => {
    const authority = makeScriptedAuthority();
    onTestFinished(() => authority.dispose());
    const gateway = await clients.device('mosquitto-foreign');
    const { keyPem, certificatePem } = authority.server;
    const files = writeCredentials(gateway.directory, { ...(await fleet.enroll()), keyPem, certificatePem });
    const outcome = await clients.publish({ ...gateway, files }, 'devices/mosquitto-foreign/telemetry/state', [
      '-m',
      'x',
    ]);
    expect(outcome).toMatchObject({ status: STATUS.notAuthorized });
  });

  it('are disconnected when their device is revoked, and refused afterwards', async () => {
    const gateway = await clients.device('mosquitto-lost');
    const listening = await clients.subscribe(gateway, 'devices/mosquitto-lost/commands/+/+', ['-q', '1']);
    const answer = await fleet.operator.revokeDevices({ ids: ['mosquitto-lost' as DeviceId], reason: 'keyCompromise' });
    expect(answer.sessionsClosed).toBe(1);
    expect(DISCONNECTED).toContain((await listening.ended).status);
    const outcome = await clients.publish(gateway, 'devices/mosquitto-lost/telemetry/state', ['-q', '1', '-m', 'x']);
    expect(outcome).toMatchObject({ status: STATUS.notAuthorized });
    expect(await stored('mosquitto-lost')).toEqual([]);
  });

  it('report the unsupported version when they use MQTT 3.1', async () => {
    const gateway = await clients.device('speaks-mqttv31');
    const args = ['-V', 'mqttv31', '-q', '1', '-m', 'x'];
    const outcome = await clients.publish(gateway, `devices/${gateway.id}/telemetry/state`, args);
    expect(outcome.status).toBe(STATUS.version);
    expect(outcome.stderr).toContain('unacceptable protocol version');
  });
});
