/** Notices of the server to every device over MQTT. No device can publish to their topics. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TRUST_BUNDLE_TOPIC } from '@rollcall/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { startFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt, nextMessage } from '../fixtures/mqtt.ts';

it('a device reads the trust bundle from its retained topic, and is disconnected when it publishes to it', async () => {
  const fleet = await startFleet();
  onTestFinished(() => fleet.stop());
  const identity = await fleet.enroll('dev-1');
  const device = await connectMqtt(identity);

  const told = nextMessage(device);
  await device.subscribeAsync(TRUST_BUNDLE_TOPIC, { qos: 1 });
  const { payload } = await told;
  expect(payload).toContain(readFileSync(join(fleet.data, 'ca', 'root.pem'), 'utf8'));
  expect(payload).toContain(readFileSync(join(fleet.data, 'ca', 'issuing.pem'), 'utf8'));
  expect(payload).not.toContain('PRIVATE');

  for (const topic of [TRUST_BUNDLE_TOPIC, 'devices/dev-1/server/renewal']) {
    const writer = await connectMqtt(identity);
    const end = closed(writer);
    writer.publish(topic, 'mine', { qos: 0, retain: true });
    await end;
  }
});

it('a renewal notice is retained for its device, and removed when the device is revoked', async () => {
  const fleet = await startFleet();
  onTestFinished(() => fleet.stop());
  const first = await fleet.enroll('dev-1', { group: 'press' });
  expect(await fleet.operator.pullRenewals({ group: 'other' as never })).toMatchObject({ pulled: 0 });
  expect(await fleet.operator.pullRenewals({ group: 'press' as never, withinSeconds: 60 })).toMatchObject({
    pulled: 1,
  });
  const topic = 'devices/dev-1/server/renewal';
  const device = await connectMqtt(first);
  const told = nextMessage(device);
  await device.subscribeAsync(topic, { qos: 1 });
  expect(JSON.parse((await told).payload)).toMatchObject({ reason: 'pulled_forward' });

  await fleet.operator.revokeDevices({ ids: ['dev-1' as never], reason: 'unspecified' });
  const again = await connectMqtt(await fleet.enroll('dev-1', { device: 'dev-1' as never }));
  const next = nextMessage(again);
  await again.subscribeAsync([topic, TRUST_BUNDLE_TOPIC], { qos: 1 });
  expect((await next).topic).toBe(TRUST_BUNDLE_TOPIC);
});
