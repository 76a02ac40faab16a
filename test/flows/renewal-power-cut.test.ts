/**
 * A device whose power fails at each write of a renewal, against the real server. It is never locked out, although the
 * server refuses the old certificate as soon as the new one was used.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { type PowerCutDevice, powerCutDevice } from '../fixtures/power-cut-device.ts';

const SCRIPT = `
  const device = await Device.open({ ...order.device, random: () => 0 });
  if (order.does === 'renew') {
    await device.connected();
    watch();
    await device.renew();
    say('writes ' + writes());
    process.exit(0);
  }
  await device.publish('readings', 'here');
  await device.drained();
  say('drained');
  await device.close();
`;

let gateway: PowerCutDevice;
let fleet: TestFleet;
beforeAll(async () => {
  gateway = await powerCutDevice(SCRIPT, ['write', 'writeFile', 'sync', 'datasync']);
  fleet = await startFleet();
});
afterAll(async () => {
  await fleet?.stop();
  gateway.remove();
});

async function run(does: 'renew' | 'publish', token?: string, killAt = 0): Promise<readonly string[]> {
  // The next start renews by itself when the broker refuses its certificate.
  const device = {
    dataDir: join(gateway.directory, 'state'),
    token,
    deviceId: 'dev-1',
    renewal: does === 'renew' ? 'manual' : 'automatic',
  };
  const { lines, signal } = await gateway.run({ device, does }, { mode: 'kill', at: killAt });
  return [...lines, ...(signal === null ? [] : [signal])];
}

describe('a renewal during which power fails at any write', () => {
  it('leaves the device able to connect, with one valid certificate', async () => {
    let last = '';
    for (let killAt = 1; last === ''; killAt += 1) {
      const token = await fleet.mint({ device: 'dev-1' });
      const said = await run('renew', token, killAt);
      if (!said.includes('SIGKILL')) last = said.join();
      expect(await run('publish'), `killed at write ${killAt}`).toEqual(['drained']);
      const { certificates } = await fleet.operator.showDevice({ id: 'dev-1' });
      const good = certificates.filter(({ status }) => status === 'good');
      // The old certificate stays valid beside the new one as long as the device has not received the new one.
      expect(good.length, `killed at write ${killAt}`).toBeLessThanOrEqual(2);
      rmSync(join(gateway.directory, 'state'), { recursive: true });
    }
    expect(Number(last.split(' ')[1])).toBeGreaterThan(5);
    const audit = await fleet.operator.listAudit({ limit: 1000 });
    expect(audit.filter(({ action }) => action === 'certificate.renewal_forked')).toEqual([]);
  }, 240_000);
});
