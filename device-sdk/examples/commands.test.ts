/** Example: commands, whose answers go back by themselves, and what an application learns about its connection. */

import { once } from 'node:events';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeScriptedAuthority } from '../../test/testkit/scripted-authority.ts';
import { nextMessage, type ScriptedBroker, startScriptedBroker } from '../../test/testkit/scripted-broker.ts';
import { type ScriptedEstServer, startScriptedEstServer } from '../../test/testkit/scripted-est-server.ts';
import { Device, memoryIdentityStore } from '../index.ts';

const authority = makeScriptedAuthority();
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
});

it('answers commands by name, and tells when it is connected', async () => {
  const subscribed = once(broker.events, 'subscribed');
  const device = await Device.open({ store: memoryIdentityStore(), token: est.token(), deviceId: 'valve-3' });
  const states: string[] = [];
  device.onState((state) => states.push(state));

  device.onCommand('open', async (command) => {
    const { percent } = command.json() as { percent: number };
    return { position: percent };
  });
  device.onCommand('*', ({ name }) => ({ error: `this valve can't ${name}` }));

  await subscribed;
  await broker.publish('devices/valve-3/commands/open/r-1', '{"percent":40}');
  await broker.publish('devices/valve-3/commands/sing/r-2', '');
  const answers = await Promise.all(
    ['r-1', 'r-2'].map((request) => nextMessage(broker, ({ topic }) => topic.endsWith(`/responses/${request}`))),
  );
  await device.close();

  expect(answers.map(({ payload }) => JSON.parse(payload))).toEqual([
    { position: 40 },
    { error: "this valve can't sing" },
  ]);
  expect(states).toEqual(['connected', 'closed']);
});
