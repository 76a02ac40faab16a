/** Example: a sensor, from its bootstrap token to the first message, its settings from the fleet, and its second start. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { testsWithClients } from '../../test/fixtures/real-client.ts';
import { type ScriptedFleet, startScriptedFleet } from '../../test/fixtures/scripted-fleet.ts';
import { Device, type DeviceSchema } from '../index.ts';

const { it } = testsWithClients('device-sdk/examples/sensor.test.ts', ['openssl']);

interface Sensor extends DeviceSchema {
  readonly streams: { readonly temperature: { readonly value: number } };
  readonly events: { readonly restarted: { readonly reason: string } };
  readonly twin: { readonly desired: { readonly interval: number }; readonly reported: { readonly interval: number } };
}

const dataDir = mkdtempSync(join(tmpdir(), 'rollcall-example-'));
let fleet: ScriptedFleet;

beforeAll(async () => {
  fleet = await startScriptedFleet();
});
afterAll(async () => {
  await fleet.stop();
  rmSync(dataDir, { recursive: true });
});

it('enrolls once, publishes whenever it is started, and does what the fleet wants of it', async () => {
  const token = fleet.est.token(); // on a real device: from its configuration, a label, or a file
  const topic = (rest: string) => `devices/${device.id}/${rest}`;

  const device = await Device.open<Sensor>({ dataDir, token });
  let interval = 60;
  const isSet = new Promise<void>((resolve) => {
    device.twin.onDesired((delta) => {
      interval = delta.interval ?? interval;
      resolve(device.twin.report({ interval }).then(() => undefined));
    });
  });
  await device.publish('temperature', { value: 21.5 }); // resolves when it is on disk
  await device.drained(); // not needed: what is not acknowledged now goes out the next time
  await fleet.broker.publish(topic('twin/desired'), '{"version":1,"state":{"interval":10}}');
  await isSet;
  await device.close();

  const later = await Device.open<Sensor>({ dataDir }); // the identity is on disk: no token any more
  const receipt = await later.publishEvent('restarted', { reason: 'update' });
  await receipt.acknowledged; // the broker has stored it
  const known = [later.twin.desired.state, later.twin.reported.state, later.twin.delta];
  await later.close();

  expect(interval).toBe(10);
  expect(later.id).toBe(device.id);
  expect(known).toEqual([{ interval: 10 }, { interval: 10 }, {}]);
  const topics = fleet.broker.messages.map((message) => message.topic);
  expect([...new Set(topics)]).toEqual(['telemetry/temperature', 'twin/reported', 'events/restarted'].map(topic));
});
