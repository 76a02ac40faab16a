/** Example: a gateway that speaks for two sensors on a wire, each of them a device of the fleet with its own name. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeScriptedAuthority } from '../../test/testkit/scripted-authority.ts';
import { nextMessage, type ScriptedBroker, startScriptedBroker } from '../../test/testkit/scripted-broker.ts';
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

it('attaches children, passes on what they say and what they are told, and detaches one that fell silent', async () => {
  const gateway = await Device.open({ dataDir, token: est.token(), deviceId: 'gateway-1' });
  const token = est.token(); // for the children: one for many uses, bound to their group

  const [inlet, outlet] = await Promise.all(['inlet', 'outlet'].map((id) => gateway.child(id, { token })));
  inlet?.onCommand('calibrate', () => ({ offset: 0.2 })); // over the wire to the sensor, in real life
  await inlet?.publish('temperature', { value: 41 });
  await outlet?.publish('temperature', { value: 38 });
  await gateway.publishEvent('started', { children: gateway.children.length });
  await Promise.all([gateway, inlet, outlet].map((device) => device?.drained()));

  await expect.poll(() => broker.clients.size).toBe(3);
  await broker.publish('devices/inlet/commands/calibrate/r-1', '{}');
  const answer = await nextMessage(broker, ({ topic }) => topic === 'devices/inlet/responses/r-1');

  await outlet?.close(); // the fleet sees it go
  await expect.poll(() => [...broker.clients.keys()].sort()).toEqual(['gateway-1', 'inlet']);
  expect(gateway.children).toEqual(['inlet']);
  await gateway.child('outlet'); // it is back: no token any more
  await gateway.close(); // and the children with it
  await expect.poll(() => broker.clients.size).toBe(0);

  expect(answer).toMatchObject({ from: 'inlet', payload: '{"offset":0.2}' });
  expect(new Set(broker.messages.map(({ from, topic }) => `${from}: ${topic}`))).toEqual(
    new Set([
      'inlet: devices/inlet/telemetry/temperature',
      'outlet: devices/outlet/telemetry/temperature',
      'gateway-1: devices/gateway-1/events/started',
      'inlet: devices/inlet/responses/r-1',
    ]),
  );
  expect(readdirSync(join(dataDir, 'children')).sort()).toEqual(['inlet', 'outlet']);
  expect(new Set(broker.serials).size).toBe(3);
});
