/** `mosquitto_sub` and paho-mqtt with filters that overlap, and with one filter twice: QoS, and the codes of SUBACK. */

import { fileURLToPath } from 'node:url';
import { commandTopic } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients, startClient } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const SCRIPT = fileURLToPath(new URL('paho_subscriptions.py', import.meta.url));

describeWithClients('clients whose filters overlap', ['mosquitto_sub', 'paho'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  /** Sends the device three commands, one with each QoS. */
  async function command(device: string, sender: string): Promise<void> {
    const client = await openMqtt(await issueService(fleet, sender));
    for (const qos of [0, 1, 2] as const) {
      await client.publishAsync(commandTopic(device as never, 'set', 'r1'), String(qos), { qos });
    }
    await client.endAsync();
  }

  it('mosquitto_sub is granted each filter, and gets a message once, with the highest QoS', async () => {
    const directory = temporaryDirectory();
    const files = writeCredentials(directory, await fleet.enroll('overlap-1'));
    const place = ['-h', 'localhost', '-p', new URL(fleet.mqttUrl).port, '--cafile', files.ca];
    const own = ['--cert', files.certificate, '--key', files.key, '-i', 'overlap-1'];
    const filters = ['+/+', '+/r1', '+/+'].flatMap((end) => ['-t', `devices/overlap-1/commands/${end}`]);
    const shown = ['-q', '2', '-d', '-F', '%q %p', '-C', '3'];
    const client = startClient('mosquitto_sub', [...place, ...own, ...filters, ...shown], { directory });
    expect(await client.line(/^Subscribed \(mid/)).toMatch(/: 2, 2, 2$/);
    await command('overlap-1', 'overlap-sender-1');
    const { stdout } = await client.ended;
    expect(stdout.split('\n').filter((line) => /^\d \d$/.test(line))).toEqual(['0 0', '1 1', '2 2']);
  });

  it('paho with filters of different QoS gets the highest of them, with persistent sessions too', async () => {
    const files = writeCredentials(temporaryDirectory(), await fleet.enroll('overlap-2'));
    const place = { host: 'localhost', port: Number(new URL(fleet.mqttUrl).port), ca: fleet.trustBundle };
    const of = (end: string) => `devices/overlap-2/commands/${end}`;
    const start = (filters: readonly (readonly [string, number])[], messages: number) => {
      const input = JSON.stringify({ ...place, ...files, id: 'overlap-2', filters, messages });
      return startClient('paho', [SCRIPT], { directory: temporaryDirectory(), input });
    };
    const told = (stdout: string) =>
      stdout
        .trim()
        .split('\n')
        .map((line): unknown => JSON.parse(line));

    const here = start(
      [
        [of('set/r1'), 0],
        [of('+/+'), 2],
        [of('+/r1'), 1],
        [of('+/r1'), 0],
      ],
      3,
    );
    await here.line(/granted/);
    await command('overlap-2', 'overlap-sender-2');
    expect(told((await here.ended).stdout)).toEqual([
      { granted: [0, 2, 1, 0] },
      { payload: '0', qos: 0 },
      { payload: '1', qos: 1 },
      { payload: '2', qos: 2 },
    ]);

    await command('overlap-2', 'overlap-sender-3');
    const back = start([], 2);
    expect(told((await back.ended).stdout)).toEqual([
      { payload: '1', qos: 1 },
      { payload: '2', qos: 2 },
    ]);
  });
});
