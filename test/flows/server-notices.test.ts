/** What the server tells every device over MQTT, and that no device can speak in its name. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { TRUST_BUNDLE_TOPIC } from '../../contract/topics.ts';
import { startFleet } from '../testkit/fleet.ts';
import { closed, connectMqtt, nextMessage } from '../testkit/mqtt.ts';

it('a device reads the trust bundle from its retained topic, and is cut off when it writes where the server does', async () => {
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
