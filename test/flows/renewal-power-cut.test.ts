/**
 * A device whose power fails at every single write of a renewal, against the real server: it never is locked out, although
 * the server stops taking the old certificate as soon as the new one has worked.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildSingleFile } from '../../device-sdk/build.ts';
import { startFleet, type TestFleet } from '../testkit/fleet.ts';

const SCRIPT = `
const fs = require('node:fs');
const promises = require('node:fs/promises');
const order = JSON.parse(process.argv[2]);
const say = (line) => fs.writeSync(1, line + '\\n');
let writes = -1;
function write() {
  if (writes < 0) return;
  writes += 1;
  if (writes === order.killAt) process.kill(process.pid, 'SIGKILL');
}
const watched = (real) => async (...given) => {
  write();
  return real(...given);
};
for (const name of ['rename', 'rm', 'rmdir', 'mkdir']) promises[name] = watched(promises[name]);
const open = promises.open;
promises.open = async (path, flags, mode) => {
  const file = await open(path, flags, mode);
  if (flags !== 'r') for (const name of ['write', 'writeFile', 'sync', 'datasync']) file[name] = watched(file[name].bind(file));
  return file;
};
const { Device } = require('./device-sdk.cjs');
(async () => {
  const device = await Device.open({ ...order.device, random: () => 0 });
  if (order.does === 'renew') {
    await device.connected();
    writes = 0;
    await device.renew();
    say('writes ' + writes);
    process.exit(0);
  }
  await device.publish('readings', 'here');
  await device.drained();
  say('drained');
  await device.close();
})().catch((error) => say('error ' + error.code));
`;

let directory: string;
let fleet: TestFleet;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-renewal-cut-'));
  await buildSingleFile(join(directory, 'device-sdk.cjs'));
  writeFileSync(join(directory, 'device.cjs'), SCRIPT);
  fleet = await startFleet();
});
afterAll(async () => {
  await fleet?.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function run(does: 'renew' | 'publish', token?: string, killAt = 0): Promise<readonly string[]> {
  // The next start renews by itself when it finds that the broker takes its certificate no more.
  const device = {
    dataDir: join(directory, 'state'),
    token,
    deviceId: 'dev-1',
    renewal: does === 'renew' ? 'manual' : 'automatic',
  };
  const child = spawn(process.execPath, ['device.cjs', JSON.stringify({ device, does, killAt })], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  return [...text.trim().split('\n'), ...(signal === null ? [] : [signal])];
}

describe('a renewal that is cut short at any write', () => {
  it('leaves the device able to connect, with one certificate that counts', async () => {
    let last = '';
    for (let killAt = 1; last === ''; killAt += 1) {
      const token = await fleet.mint({ device: 'dev-1' });
      const said = await run('renew', token, killAt);
      if (!said.includes('SIGKILL')) last = said.join();
      expect(await run('publish'), `killed at write ${killAt}`).toEqual(['drained']);
      const { certificates } = await fleet.operator.showDevice({ id: 'dev-1' });
      const good = certificates.filter(({ status }) => status === 'good');
      // The old one counts beside the new one as long as the new one never came to the device.
      expect(good.length, `killed at write ${killAt}`).toBeLessThanOrEqual(2);
      rmSync(join(directory, 'state'), { recursive: true });
    }
    expect(Number(last.split(' ')[1])).toBeGreaterThan(5);
    const audit = await fleet.operator.listAudit({ limit: 1000 });
    expect(audit.filter(({ action }) => action === 'certificate.renewal_forked')).toEqual([]);
  }, 240_000);
});
