/** An SDK device that is suspended for a while is refused, retries, and reconnects by itself when it is resumed. */

import { Device } from '@rollcall/device-sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startFleet } from '../fixtures/fleet.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describe('a suspended device', () => {
  it('retries, reconnects when it is resumed, and sends the messages that it queued in the meantime', async () => {
    const fleet = await startFleet();
    onTestFinished(() => fleet.stop());
    const device = await Device.open({
      dataDir: temporaryDirectory(),
      deviceId: 'sus-1',
      token: await fleet.mint(),
      renewal: 'manual',
      // A refused device waits half a minute or more; here a hundredth of it.
      schedule: (milliseconds, action) => {
        const timer = setTimeout(action, milliseconds / 100);
        return () => clearTimeout(timer);
      },
    });
    onTestFinished(() => device.close());
    await device.connected();
    expect(await fleet.operator.suspendDevices({ ids: ['sus-1'] })).toMatchObject({ sessionsClosed: 1 });
    await expect(device.renew()).rejects.toMatchObject({ code: 'device_suspended', status: 409 });
    expect(device.state).not.toBe('revoked');
    const { acknowledged } = await device.publish('temp', { value: 1 });
    await fleet.operator.resumeDevices({ ids: ['sus-1'] });
    await acknowledged; // at one of its retries: it is not notified
    expect(device.state).toBe('connected');
    expect(await fleet.operator.queryTelemetry({ device: 'sus-1' })).toHaveLength(1);
  });
});
