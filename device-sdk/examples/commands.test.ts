/** Example: commands, whose answers go back by themselves, and what an application learns about its connection. */

import { once } from 'node:events';
import { afterAll, beforeAll, expect } from 'vitest';
import { testsWithClients } from '../../test/fixtures/real-client.ts';
import { nextMessage } from '../../test/fixtures/scripted-broker.ts';
import { type ScriptedFleet, startScriptedFleet } from '../../test/fixtures/scripted-fleet.ts';
import { Device, memoryIdentityStore } from '../index.ts';

const { it } = testsWithClients('device-sdk/examples/commands.test.ts', ['openssl']);

let fleet: ScriptedFleet;

beforeAll(async () => {
  fleet = await startScriptedFleet();
});
afterAll(async () => {
  await fleet.stop();
});

it('answers commands by name, and tells when it is connected', async () => {
  const subscribed = once(fleet.broker.events, 'subscribed');
  const device = await Device.open({ store: memoryIdentityStore(), token: fleet.est.token(), deviceId: 'valve-3' });
  const states: string[] = [];
  device.onState((state) => states.push(state));

  device.onCommand('open', async (command) => {
    const { percent } = command.json() as { percent: number };
    return { position: percent };
  });
  device.onCommand('*', ({ name }) => ({ error: `this valve can't ${name}` }));

  await subscribed;
  await fleet.broker.publish('devices/valve-3/commands/open/r-1', '{"percent":40}');
  await fleet.broker.publish('devices/valve-3/commands/sing/r-2', '');
  const answers = await Promise.all(
    ['r-1', 'r-2'].map((request) => nextMessage(fleet.broker, ({ topic }) => topic.endsWith(`/responses/${request}`))),
  );
  await device.close();

  expect(answers.map(({ payload }) => JSON.parse(payload))).toEqual([
    { position: 40 },
    { error: "this valve can't sing" },
  ]);
  expect(states).toEqual(['connected', 'closed']);
});
