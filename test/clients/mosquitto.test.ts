/** `mosquitto_pub` and `mosquitto_sub` as devices and services: what the broker allows, and how they report a refusal. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type CredentialFiles, writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import {
  type ClientOutcome,
  describeWithClients,
  type LiveClient,
  runClient,
  startClient,
} from '../fixtures/real-client.ts';
import { makeScriptedAuthority } from '../fixtures/scripted-authority.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

interface Party {
  readonly directory: string;
  readonly id: string;
  readonly files: CredentialFiles;
}

/** Exit statuses of the Mosquitto clients: CONNACK codes of MQTT 3.1.1, reason codes of 5.0, and libmosquitto's own. */
const STATUS = { ok: 0, version: 1, clientId: 2, notAuthorized: 5, version5: 132 };

/** Depends on the state of the client when the connection closed: waiting, inside a TLS record, or writing. */
const DISCONNECTED = [7, 8, 14];

describeWithClients('mosquitto_pub and mosquitto_sub', ['mosquitto_pub', 'mosquitto_sub', 'openssl'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  async function device(id: string): Promise<Party> {
    const directory = temporaryDirectory();
    return { directory, id, files: writeCredentials(directory, await fleet.enroll(id)) };
  }

  async function service(name: string): Promise<Party> {
    const directory = temporaryDirectory();
    return { directory, id: name, files: writeCredentials(directory, await issueService(fleet, name)) };
  }

  function broker(): readonly string[] {
    return ['-h', 'localhost', '-p', new URL(fleet.mqttUrl).port];
  }

  const own = ({ files, id }: Party) => [
    '--cafile',
    files.ca,
    '--cert',
    files.certificate,
    '--key',
    files.key,
    '-i',
    id,
  ];

  function publish(party: Party, topic: string, args: readonly string[]): Promise<ClientOutcome> {
    const { directory } = party;
    return runClient('mosquitto_pub', [...broker(), ...own(party), '-t', topic, ...args], { directory });
  }

  /** One line per message: topic, QoS, retained, payload. */
  function listen(party: Party, filter: string, args: readonly string[]): LiveClient {
    const { directory } = party;
    const shown = ['-d', '-F', '%t %q %r %p'];
    return startClient('mosquitto_sub', [...broker(), ...own(party), '-t', filter, ...shown, ...args], { directory });
  }

  /** Resolves when the subscription is granted. */
  async function subscribe(party: Party, filter: string, args: readonly string[]): Promise<LiveClient> {
    const client = listen(party, filter, args);
    await client.line(/^Subscribed \(mid/);
    return client;
  }

  const messagesOf = (outcome: ClientOutcome, topicPrefix: string) =>
    outcome.stdout.split('\n').filter((line) => line.startsWith(topicPrefix));

  const stored = async (id: string) => {
    const messages = await fleet.operator.queryTelemetry({ device: id as DeviceId });
    return messages.map(({ stream, qos }) => `${stream} ${qos}`);
  };

  it('carry QoS 0, 1 and 2 from a device to a service that subscribed to all of them', async () => {
    const gateway = await device('mosquitto-qos');
    const reader = await service('reader');
    const reading = await subscribe(reader, 'devices/+/telemetry/+', ['-q', '2', '-C', '3']);
    for (const qos of ['0', '1', '2']) {
      const sent = await publish(gateway, `devices/mosquitto-qos/telemetry/level${qos}`, ['-q', qos, '-m', `ä${qos}`]);
      expect(sent).toMatchObject({ status: STATUS.ok, stderr: '' });
    }
    const outcome = await reading.ended;
    expect(outcome.status).toBe(STATUS.ok);
    expect(messagesOf(outcome, 'devices/')).toEqual([
      'devices/mosquitto-qos/telemetry/level0 0 0 ä0',
      'devices/mosquitto-qos/telemetry/level1 1 0 ä1',
      'devices/mosquitto-qos/telemetry/level2 2 0 ä2',
    ]);
    expect(await stored('mosquitto-qos')).toEqual(['level0 0', 'level1 1', 'level2 2']);
  });

  it('carry a large message whole, and none that is too large', async () => {
    const gateway = await device('mosquitto-large');
    const file = join(gateway.directory, 'payload');
    const topic = 'devices/mosquitto-large/telemetry/image';
    writeFileSync(file, Buffer.alloc(200_000, 0xff));
    expect(await publish(gateway, topic, ['-q', '1', '-f', file])).toMatchObject({ status: STATUS.ok });
    const [message] = await fleet.operator.queryTelemetry({ device: 'mosquitto-large' as DeviceId });
    expect(Buffer.from(message?.base64 ?? '', 'base64')).toHaveLength(200_000);

    writeFileSync(file, Buffer.alloc(300_000, 0xff));
    expect(DISCONNECTED).toContain((await publish(gateway, topic, ['-q', '1', '-f', file])).status);
    expect(await stored('mosquitto-large')).toEqual(['image 1']);
  });

  it('have commands queued for a device that is offline', async () => {
    const gateway = await device('mosquitto-sleeper');
    const operations = await service('operations');
    const filter = 'devices/mosquitto-sleeper/commands/+/+';
    const leaving = await subscribe(gateway, filter, ['-c', '-q', '1', '-E']);
    expect(await leaving.ended).toMatchObject({ status: STATUS.ok });
    const sent = await publish(operations, 'devices/mosquitto-sleeper/commands/reboot/r1', ['-q', '1', '-m', 'now']);
    expect(sent).toMatchObject({ status: STATUS.ok });
    const back = listen(gateway, filter, ['-c', '-q', '1', '-C', '1']);
    expect(messagesOf(await back.ended, 'devices/')).toEqual(['devices/mosquitto-sleeper/commands/reboot/r1 1 0 now']);
  });

  it('receive the will of a device that lost power', async () => {
    const gateway = await device('mosquitto-wills');
    const reader = await service('will-reader');
    const reading = await subscribe(reader, 'devices/+/events/+', ['-C', '1']);
    const will = ['--will-topic', 'devices/mosquitto-wills/events/gone', '--will-payload', 'power', '--will-qos', '1'];
    const running = await subscribe(gateway, 'devices/mosquitto-wills/commands/+/+', will);
    running.kill();
    expect(messagesOf(await reading.ended, 'devices/')).toEqual(['devices/mosquitto-wills/events/gone 0 0 power']);
  });

  it('receive retained messages', async () => {
    const gateway = await device('mosquitto-retains');
    const reader = await service('twin-reader');
    const topic = 'devices/mosquitto-retains/twin/reported';
    expect(await publish(gateway, topic, ['-r', '-q', '1', '-m', '{"on":true}'])).toMatchObject({ status: STATUS.ok });
    const reading = listen(reader, 'devices/+/twin/reported', ['-q', '1', '-C', '1']);
    expect(messagesOf(await reading.ended, 'devices/')).toEqual([`${topic} 1 1 {"on":true}`]);
  });

  it.each(['tlsv1.2', 'tlsv1.3'])('connect with %s', async (version) => {
    const gateway = await device(`mosquitto-${version}`);
    const args = ['--tls-version', version, '-q', '1', '-m', 'x'];
    const sent = await publish(gateway, `devices/${gateway.id}/telemetry/state`, args);
    expect(sent).toMatchObject({ status: STATUS.ok });
  });

  it.each(['0', '1', '2'])('are disconnected when they publish to a denied topic with QoS %s', async (qos) => {
    const victim = await device(`mosquitto-victim${qos}`);
    const gateway = await device(`mosquitto-rogue${qos}`);
    const reader = await service(`rogue-reader${qos}`);
    const reading = await subscribe(reader, 'devices/+/telemetry/+', ['-C', '1']);
    const outcome = await publish(gateway, `devices/${victim.id}/telemetry/state`, ['-q', qos, '-m', 'forged']);
    // A sender of QoS 0 waits for no response and reports nothing.
    expect(qos === '0' ? [STATUS.ok] : DISCONNECTED).toContain(outcome.status);
    await publish(victim, `devices/${victim.id}/telemetry/state`, ['-q', '1', '-m', 'true']);
    expect(messagesOf(await reading.ended, 'devices/')).toEqual([`devices/${victim.id}/telemetry/state 0 0 true`]);
  });

  it.each(['devices/mosquitto-other/commands/+/+', 'devices/+/telemetry/+', '#', '$SYS/#', '$share/g/devices/#'])(
    'are denied a subscription to %s',
    async (filter) => {
      const gateway = await device(`mosquitto-nosy${filter.length}`);
      const { directory } = gateway;
      const args = [...broker(), ...own(gateway), '-t', filter, '-W', '10'];
      const outcome = await runClient('mosquitto_sub', args, { directory });
      expect(outcome.stderr).toContain('All subscription requests were denied.');
    },
  );

  it('are refused with a client id that is not the device’s', async () => {
    const gateway = await device('mosquitto-honest');
    const outcome = await publish({ ...gateway, id: 'mosquitto-liar' }, 'devices/mosquitto-honest/telemetry/state', [
      '-q',
      '1',
      '-m',
      'x',
    ]);
    expect(outcome).toMatchObject({ status: STATUS.clientId });
    expect(outcome.stderr).toContain('identifier rejected');
  });

  it('connect as a service with its name and a suffix as client id, and with no other', async () => {
    const dashboard = await service('dashboard');
    const topic = 'devices/mosquitto-any/commands/blink/r1';
    const as = (id: string) => publish({ ...dashboard, id }, topic, ['-q', '1', '-m', 'x']);
    expect(await as('dashboard-2')).toMatchObject({ status: STATUS.ok });
    expect(await as('dashboard2')).toMatchObject({ status: STATUS.clientId });
  });

  it('are refused without a certificate', async () => {
    const directory = temporaryDirectory();
    const args = [...broker(), '--cafile', fleet.trustBundle, '-i', 'nobody', '-t', 'x', '-m', 'x', '-q', '1'];
    expect(await runClient('mosquitto_pub', args, { directory })).toMatchObject({ status: STATUS.notAuthorized });
  });

  it('are refused with a certificate of another CA', async () => {
    const authority = makeScriptedAuthority();
    onTestFinished(() => authority.dispose());
    const gateway = await device('mosquitto-foreign');
    const { keyPem, certificatePem } = authority.server;
    const files = writeCredentials(gateway.directory, { ...(await fleet.enroll()), keyPem, certificatePem });
    const outcome = await publish({ ...gateway, files }, 'devices/mosquitto-foreign/telemetry/state', ['-m', 'x']);
    expect(outcome).toMatchObject({ status: STATUS.notAuthorized });
  });

  it('are disconnected when their device is revoked, and refused afterwards', async () => {
    const gateway = await device('mosquitto-lost');
    const listening = await subscribe(gateway, 'devices/mosquitto-lost/commands/+/+', ['-q', '1']);
    const answer = await fleet.operator.revokeDevices({ ids: ['mosquitto-lost' as DeviceId], reason: 'keyCompromise' });
    expect(answer.sessionsClosed).toBe(1);
    expect(DISCONNECTED).toContain((await listening.ended).status);
    const outcome = await publish(gateway, 'devices/mosquitto-lost/telemetry/state', ['-q', '1', '-m', 'x']);
    expect(outcome).toMatchObject({ status: STATUS.notAuthorized });
    expect(await stored('mosquitto-lost')).toEqual([]);
  });

  it.each([
    ['mqttv5', STATUS.version5, 'Unsupported Protocol Version'],
    ['mqttv31', STATUS.version, 'unacceptable protocol version'],
  ])('report the unsupported version when they use %s', async (version, status, words) => {
    const gateway = await device(`speaks-${version}`);
    const outcome = await publish(gateway, `devices/${gateway.id}/telemetry/state`, [
      '-V',
      version,
      '-q',
      '1',
      '-m',
      'x',
    ]);
    expect(outcome.status).toBe(status);
    expect(outcome.stderr).toContain(words);
  });
});
