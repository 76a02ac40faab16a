/**
 * A device that dies, or whose disk fails, at every single write between its first start and its second certificate. It is
 * the bundle in a process of its own, killed with SIGKILL from inside, just before the write.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import {
  type PowerCut,
  type PowerCutDevice,
  type PowerCutRun,
  powerCutDevice,
} from '../test/fixtures/power-cut-device.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { type ScriptedFleet, startScriptedFleet } from '../test/fixtures/scripted-fleet.ts';

const { describe, it } = testsWithClients('device-sdk/power-cut.test.ts', ['openssl']);

const SCRIPT = `
  watch();
  const device = await Device.open({ ...order.device, random: () => 0 });
  say('open ' + device.id);
  try {
    for (const text of order.messages) {
      await device.publish('readings', text);
      say('safe ' + text);
      if (text === order.renewAfter) await device.renew();
    }
    await device.twin.report({ runs: 1 });
    await device.drained();
    say('drained');
  } catch (error) {
    say('error ' + error.code);
  }
  await device.close();
  say('writes ' + writes());
`;

let gateway: PowerCutDevice;
let fleet: ScriptedFleet;
beforeAll(async () => {
  gateway = await powerCutDevice(SCRIPT, ['write', 'writeFile']);
  fleet = await startScriptedFleet();
});
afterAll(async () => {
  await fleet.stop();
  gateway.remove();
});

function run(id: string, messages: readonly string[], cut?: PowerCut): Promise<PowerCutRun> {
  const dataDir = join(gateway.directory, id);
  const device = { dataDir, token: fleet.est.token(), deviceId: id, renewal: 'manual' };
  return gateway.run({ device, messages, renewAfter: 'second' }, cut);
}

const saidIn = ({ lines }: PowerCutRun, word: string) =>
  lines.filter((line) => line.startsWith(word)).map((line) => line.split(' ')[1]);

/** After whatever happened: the next run finds its identity, or makes it, and sends all that was safe, in order. */
async function recovers(id: string, before: PowerCutRun): Promise<void> {
  const after = await run(id, ['last']);
  expect(after.lines, id).toContain('drained');
  expect(saidIn(after, 'open')).toEqual([id]);
  const arrived = fleet.broker.messages.filter(({ from, topic }) => from === id && topic.endsWith('/readings'));
  const payloads = [...new Set(arrived.map(({ payload }) => payload))];
  const safe = [...saidIn(before, 'safe'), 'last'];
  expect(
    payloads.filter((payload) => safe.includes(payload)),
    id,
  ).toEqual(safe);
  const key = readFileSync(join(gateway.directory, id, 'key.pem'), 'utf8');
  expect(key.match(/BEGIN PRIVATE KEY/g)).toHaveLength(1);
  rmSync(join(gateway.directory, id), { recursive: true });
}

describe('a device', () => {
  const messages = ['first', 'second', 'third'];

  it('that is killed at any write of enrollment, renewal, queue and twin goes on where it was', async () => {
    const [writes] = saidIn(await run('whole', messages), 'writes').map(Number) as [number];
    expect(writes).toBeGreaterThan(30);
    const cut = async (at: number) => {
      const id = `killed-${at}`;
      const before = await run(id, messages, { mode: 'kill', at });
      expect(before.signal, id).toBe('SIGKILL');
      await recovers(id, before);
      // The answer to each request was a certificate for one key: a token is not spent twice.
      expect(fleet.est.issuedIds.filter((issued) => issued === id).length).toBeLessThanOrEqual(2);
    };
    for (let at = 1; at < writes; at += 2) await Promise.all([cut(at), ...(at + 1 < writes ? [cut(at + 1)] : [])]);
  });

  it('whose disk is full from any write on says so, does not crash, and goes on when there is room', async () => {
    for (let at = 1; at < 40; at += 6) {
      const id = `full-${at}`;
      const before = await run(id, messages, { mode: 'full', at });
      expect(before.signal, id).toBeNull();
      const [code] = saidIn(before, 'error');
      expect(['identity_unusable', 'queue_unwritable'], `${id}: ${before.lines.join(', ')}`).toContain(code);
      await recovers(id, before);
    }
  });
});
