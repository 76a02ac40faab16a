/** Example: a gateway that speaks for two sensors on a wire, each of them a device of the fleet with its own name. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { testsWithClients } from '../../test/fixtures/real-client.ts';
import { nextMessage } from '../../test/fixtures/scripted-broker.ts';
import { type ScriptedFleet, startScriptedFleet } from '../../test/fixtures/scripted-fleet.ts';
import { Device } from '../index.ts';

const { it } = testsWithClients('device-sdk/examples/gateway.test.ts', ['openssl']);

const dataDir = mkdtempSync(join(tmpdir(), 'rollcall-example-'));
let fleet: ScriptedFleet;

beforeAll(async () => {
  fleet = await startScriptedFleet();
});
afterAll(async () => {
  await fleet.stop();
  rmSync(dataDir, { recursive: true });
});

it('attaches children, passes on what they say and what they are told, and detaches one that fell silent', async () => {
  const gateway = await Device.open({ dataDir, token: fleet.est.token(), deviceId: 'gateway-1' });
  const token = fleet.est.token(); // for the children: one for many uses, bound to their group

  const [inlet, outlet] = await Promise.all(['inlet', 'outlet'].map((id) => gateway.child(id, { token })));
  inlet?.onCommand('calibrate', () => ({ offset: 0.2 })); // over the wire to the sensor, in real life
  await inlet?.publish('temperature', { value: 41 });
  await outlet?.publish('temperature', { value: 38 });
  await gateway.publishEvent('started', { children: gateway.children.length });
  await Promise.all([gateway, inlet, outlet].map((device) => device?.drained()));

  await expect.poll(() => fleet.broker.clients.size).toBe(3);
  await fleet.broker.publish('devices/inlet/commands/calibrate/r-1', '{}');
  const answer = await nextMessage(fleet.broker, ({ topic }) => topic === 'devices/inlet/responses/r-1');

  await outlet?.close(); // the fleet sees it go
  await expect.poll(() => [...fleet.broker.clients.keys()].sort()).toEqual(['gateway-1', 'inlet']);
  expect(gateway.children).toEqual(['inlet']);
  await gateway.child('outlet'); // it is back: no token any more
  await gateway.close(); // and the children with it
  await expect.poll(() => fleet.broker.clients.size).toBe(0);

  expect(answer).toMatchObject({ from: 'inlet', payload: '{"offset":0.2}' });
  expect(new Set(fleet.broker.messages.map(({ from, topic }) => `${from}: ${topic}`))).toEqual(
    new Set([
      'inlet: devices/inlet/telemetry/temperature',
      'outlet: devices/outlet/telemetry/temperature',
      'gateway-1: devices/gateway-1/events/started',
      'inlet: devices/inlet/responses/r-1',
    ]),
  );
  expect(readdirSync(join(dataDir, 'children')).sort()).toEqual(['inlet', 'outlet']);
  expect(new Set(fleet.broker.serials).size).toBe(3);
});
