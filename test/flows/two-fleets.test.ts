/** Two fleets in one process are isolated from each other. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';

describe('two fleets in one process', () => {
  let north: TestFleet;
  let south: TestFleet;
  beforeAll(async () => {
    [north, south] = await Promise.all([startFleet(), startFleet()]);
  });
  afterAll(() => Promise.all([north.stop(), south.stop()]));

  it('may each have a device of the same name', async () => {
    const [a, b] = await Promise.all([north.enroll('dev-1'), south.enroll('dev-1')]);
    await Promise.all([connectMqtt(a), connectMqtt(b)]);
    await north.operator.revokeDevices({ ids: ['dev-1'], reason: 'keyCompromise' });
    await expect(connectMqtt(a)).rejects.toThrow();
    await connectMqtt(b);
  });

  it('refuse the devices of the other fleet', async () => {
    const device = await north.enroll('dev-2');
    const { rootPem } = await south.enroll('dev-3');
    await expect(connectMqtt({ ...device, mqttUrl: south.mqttUrl, rootPem })).rejects.toThrow();
  });

  it('refuse the tokens of the other fleet', async () => {
    const token = await north.mint();
    const enrollUrl = south.enrollUrl;
    // The token pins the north root, so a device detects the other fleet. A device that ignores the pin is refused by the server.
    await expect(enrollOnce(memoryIdentityStore(), { token, enrollUrl })).rejects.toMatchObject({
      code: 'server_untrusted',
    });
    const { rootSha256 } = await pinOf(south);
    await expect(enrollOnce(memoryIdentityStore(), { token, enrollUrl, rootSha256 })).rejects.toMatchObject({
      code: 'token_rejected',
    });
    await enrollOnce(memoryIdentityStore(), { token });
  });
});

async function pinOf(fleet: TestFleet): Promise<{ readonly rootSha256: string }> {
  const { parseBootstrapToken } = await import('../../protocol/bootstrap-token.ts');
  return { rootSha256: parseBootstrapToken(await fleet.mint())?.rootSha256 ?? '' };
}
