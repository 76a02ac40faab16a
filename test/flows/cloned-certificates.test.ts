/** A copied certificate, from the detection of its second connection to the quarantine of the device. */

import { describe, expect, it, onTestFinished } from 'vitest';
import { startFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';

async function copiedCertificate(response: 'report' | 'quarantine') {
  const fleet = await startFleet({
    settings: [
      [['clones', 'response'], response],
      [['mqtt', 'limits', 'takeoversPerMinute'], 0],
    ],
  });
  onTestFinished(() => fleet.stop());
  const device = await fleet.enroll('twin-1');
  for (let n = 0; n < 6; n += 1) await connectMqtt(device);
  for (;;) {
    const entries = await fleet.operator.listAudit({ subject: 'device/twin-1', limit: 20 });
    const actions = entries.map(({ action, actor }) => `${action} ${actor}`);
    const last = response === 'report' ? 'device.clone_suspected' : 'device.quarantined';
    if (actions.some((action) => action.startsWith(last))) return { fleet, device, entries };
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a certificate used by two clients', () => {
  it('is reported with its addresses and serials, and nothing else happens by default', async () => {
    const { fleet, entries } = await copiedCertificate('report');
    expect(entries[0]).toMatchObject({
      actor: 'server/broker',
      action: 'device.clone_suspected',
      details: { evidence: 'takeover_ping_pong', addresses: '127.0.0.1', takeovers: 5, response: 'report' },
    });
    expect((await fleet.operator.showDevice({ id: 'twin-1' })).status).toBe('active');
    expect(await fleet.operator.metrics()).toMatch(/^rollcall_clones_suspected_total 1$/m);
  });

  it('leads to the quarantine of both clients if so configured, until an operator resumes the device', async () => {
    const { fleet, device } = await copiedCertificate('quarantine');
    expect((await fleet.operator.showDevice({ id: 'twin-1' })).status).toBe('quarantined');
    const client = await connectMqtt(device);
    const gone = closed(client);
    client.publish('devices/twin-1/telemetry/temp', '1');
    await gone;
    await fleet.operator.resumeDevices({ ids: ['twin-1'] });
    const again = await connectMqtt(device);
    await again.publishAsync('devices/twin-1/telemetry/temp', '1', { qos: 1 });
  });
});
