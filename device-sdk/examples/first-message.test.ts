/** Example: from a bootstrap token to the first message, and the second start of the same device. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeScriptedAuthority } from '../../test/testkit/scripted-authority.ts';
import { type ScriptedBroker, startScriptedBroker } from '../../test/testkit/scripted-broker.ts';
import { type ScriptedEstServer, startScriptedEstServer } from '../../test/testkit/scripted-est-server.ts';
import { Device } from '../index.ts';

const authority = makeScriptedAuthority();
const dataDir = mkdtempSync(join(tmpdir(), 'rollcall-example-'));
let broker: ScriptedBroker;
let est: ScriptedEstServer;

beforeAll(async () => {
  broker = await startScriptedBroker(authority);
  est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl });
});
afterAll(async () => {
  await est.close();
  await broker.close();
  authority.dispose();
  rmSync(dataDir, { recursive: true });
});

it('enrolls once, and publishes whenever it is started', async () => {
  const token = est.token(); // on a real device: from its configuration, a label, or a file

  const device = await Device.open({ dataDir, token });
  await device.publish('temperature', { value: 21.5 }); // resolves when it is on disk
  await device.drained(); // not needed: what is not acknowledged now goes out the next time
  await device.close();

  const later = await Device.open({ dataDir }); // the identity is on disk: no token any more
  const receipt = await later.publishEvent('restarted', { reason: 'update' });
  await receipt.acknowledged; // the broker has stored it
  await later.close();

  expect(later.id).toBe(device.id);
  expect(broker.messages.map(({ topic }) => topic)).toEqual([
    `devices/${device.id}/telemetry/temperature`,
    `devices/${device.id}/events/restarted`,
  ]);
});
