/** Why the real server ends a device's session or refuses its message, as the SDK and the agent's program say it. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Device,
  type DeviceError,
  type DeviceOptions,
  enrollOnce,
  fileIdentityStore,
  memoryIdentityStore,
  type StoredIdentity,
} from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { type AgentProgram, buildAgentProgram } from '../fixtures/device-agent.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const workshop = mkdtempSync(join(tmpdir(), 'rollcall-reasons-'));
let agentProgram: AgentProgram;
let server: RunningServer;
let operator: ConsoleClient;

beforeAll(async () => {
  const environment = { ROLLCALL_TELEMETRY_STREAMS: '1' };
  [agentProgram, server] = await Promise.all([
    buildAgentProgram(workshop),
    serve(join(workshop, 'data'), [], { environment }),
  ]);
  operator = openConsoleClient({ socketPath: server.ready.socket });
});
afterAll(async () => {
  await operator?.close();
  await server?.end('SIGKILL');
  rmSync(workshop, { recursive: true, force: true });
});

const token = async () => (await operator.createToken({})).text;

async function openDevice(deviceId: string, options: Partial<DeviceOptions> = {}) {
  const store = memoryIdentityStore();
  const identity = await enrollOnce(store, { token: await token(), deviceId });
  const device = await Device.open({ store, ...options } as DeviceOptions);
  onTestFinished(() => device.close());
  await device.connected();
  return { device, identity };
}

async function startAgent(id: string) {
  const place = agentProgram.configure(temporaryDirectory(), [`id = ${id}`]);
  place.giveToken(await token());
  const agent = await place.run();
  await agent.reached('connected');
  return { place, agent };
}

/** The error of the next `recovering`. */
function untilRecovering(device: Device): Promise<DeviceError | undefined> {
  return new Promise((resolve) => {
    const forget = device.onState((state, error) => {
      if (state !== 'recovering') return;
      forget();
      resolve(error);
    });
  });
}

const ends: readonly (readonly [
  what: string,
  end: (identity: StoredIdentity) => Promise<unknown>,
  expected: { readonly code: string; readonly serverReason: string },
])[] = [
  [
    'is revoked',
    ({ deviceId }) => operator.revokeDevices({ ids: [deviceId], reason: 'unspecified' }),
    { code: 'connection_refused', serverReason: 'device_revoked' },
  ],
  [
    'is suspended',
    ({ deviceId }) => operator.suspendDevices({ ids: [deviceId] }),
    { code: 'connection_refused', serverReason: 'device_suspended' },
  ],
  [
    'is displaced by another client of its name',
    (identity) => connectMqtt(identity),
    { code: 'connection_lost', serverReason: 'taken_over' },
  ],
];

describe.each(ends)('a device that %s', (what, end, expected) => {
  it('learns it by a word, through the SDK', async () => {
    const { device, identity } = await openDevice(`sdk-${what.split(' ')[1]}`);
    const lost = untilRecovering(device);
    await end(identity);
    expect(await lost).toMatchObject(expected);
    expect(device.lastError?.message).toContain(`DISCONNECT ${expected.serverReason}: `);
  });

  it("finds it in the agent's log and status", async () => {
    const { place, agent } = await startAgent(`agent-${what.split(' ')[1]}`);
    await end((await fileIdentityStore(place.state).load()) as StoredIdentity);
    expect(await agent.reached('recovering')).toMatchObject(expected);
    const { stdout } = await place.command(['status', '--json']);
    expect(JSON.parse(stdout).error).toMatchObject(expected);
  });
});

describe('a message that the server refuses', () => {
  it('is told through the SDK, and the next one is stored', async () => {
    const refused: string[] = [];
    const onRefused = (topic: string, error: DeviceError) => refused.push(`${topic} ${error.serverReason}`);
    const { device } = await openDevice('sdk-quota', { onRefused, messageKeys: 'none' });
    await device.publish('first', 1);
    const error = { code: 'message_refused', serverReason: 'quota_exceeded' };
    await expect(device.publish('second', 2)).rejects.toMatchObject(error);
    await device.publish('first', 3);
    expect(device.queue).toMatchObject({ messages: 0, refused: 1 });
    expect(refused).toEqual(['devices/sdk-quota/telemetry/second quota_exceeded']);
    const stored = await operator.queryTelemetry({ device: 'sdk-quota' });
    expect(stored.map(({ payload }) => payload)).toEqual([1, 3]);
  });

  it('is counted and logged by the agent, whose queue goes on', async () => {
    const { place, agent } = await startAgent('agent-quota');
    await place.command(['publish', 'first', '1', '--wait']);
    const { code, stderr } = await place.command(['publish', 'second', '2', '--wait']);
    expect(code).toBe(1);
    expect(stderr).toContain('quota_exceeded');
    await place.command(['publish', 'first', '3', '--wait']);
    const refused = await agent.logged(({ msg }) => msg === 'message refused');
    expect(refused).toMatchObject({ code: 'message_refused', serverReason: 'quota_exceeded' });
    const { stdout } = await place.command(['status', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ state: 'connected', queue: { messages: 0, refused: 1 } });
    const stored = await operator.queryTelemetry({ device: 'agent-quota' });
    expect(stored.map(({ payload }) => payload)).toEqual([1, 3]);
  });
});

it('a command with a response topic is answered there with MQTT 5, when the policy allows it', async () => {
  const { device } = await openDevice('sdk-reply');
  device.onCommand('ping', ({ userProperties, contentType }) => ({ userProperties, contentType }));
  const service = await connectMqtt(await issueService({ operator, mqttUrl: server.ready.mqttUrl }, 'asker'), {
    protocolVersion: 5,
  });
  const responseTopic = 'devices/sdk-reply/responses/mine';
  await service.subscribeAsync('devices/sdk-reply/responses/+', { qos: 1 });
  const answered = new Promise<readonly unknown[]>((resolve) => {
    service.once('message', (topic, payload, { properties }) =>
      resolve([topic, JSON.parse(payload.toString()), properties?.correlationData?.toString()]),
    );
  });
  const correlationData = Buffer.from('c-1');
  await service.publishAsync('devices/sdk-reply/commands/ping/r-1', '{}', {
    ...{
      qos: 1,
      properties: { responseTopic, correlationData, contentType: 'text/plain', userProperties: { a: 'b' } },
    },
  });
  const reply = { userProperties: [['a', 'b']], contentType: 'text/plain' };
  expect(await answered).toEqual([responseTopic, reply, 'c-1']);
});
