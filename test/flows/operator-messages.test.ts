/** An operator sends commands to a device and changes its twin, by the command line and the API, through the real servers. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Device } from '@rollcall/device-sdk';
import { commandFilter, type Problem, parseDeviceTopic, responseTopic, twinTopic } from '@rollcall/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';

let fleet: TestFleet;
const directory = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
let device: Awaited<ReturnType<typeof Device.open>>;
const cli = (...args: string[]) => rollcall(['device', ...args, '--socket', fleet.socket]);

beforeAll(async () => {
  fleet = await startFleet();
  device = await openDevice('dev-1', await fleet.mint());
  device.onCommand('echo', (command) => ({ heard: command.json() }));
  device.onCommand('fail', () => {
    throw new Error('the valve is stuck');
  });
  device.onCommand('hang', () => new Promise(() => {}));
});
afterAll(async () => {
  await device.close();
  await fleet.stop();
  rmSync(directory, { recursive: true });
});

async function openDevice(id: string, token?: string) {
  const dataDir = join(directory, id);
  const opened = await Device.open({ dataDir, ...(token !== undefined && { token }), deviceId: id });
  opened.onCommand('ready', () => true);
  const isReady = () =>
    fleet.operator.commandDevice({ id, name: 'ready', waitSeconds: 20 }).then(
      ({ outcome }) => outcome,
      ({ code }: Problem) => code,
    );
  while ((await isReady()) !== 'answered'); // Then it has subscribed to its commands.
  return opened;
}

describe('a command of an operator', () => {
  it('reaches the device, and its response is printed', async () => {
    const { code, stdout } = await cli('command', 'dev-1', 'echo', '--payload', '{"n":1}', '--wait', '20s');
    expect({ code, stdout }).toEqual({ code: 0, stdout: '{"heard":{"n":1}}\n' });
  });

  it('is in the audit with its name and size and the operator, and without its payload', async () => {
    await fleet.operator.commandDevice({ id: 'dev-1', name: 'echo', payload: { pin: 'secret-4711' } });
    const entries = (await fleet.operator.listAudit({ subject: 'device/dev-1' })).filter(({ action }) =>
      action.startsWith('device.command'),
    );
    expect(entries[0]).toMatchObject({ action: 'device.command.sent', actor: 'operator/unix' });
    expect(entries[1]).toMatchObject({ action: 'device.command.begun', details: { command: 'echo', bytes: 21 } });
    expect(JSON.stringify(entries)).not.toContain('4711');
  });

  it('exits with 1 and prints the response when the device responds with an error', async () => {
    const { code, stdout, stderr } = await cli('command', 'dev-1', 'fail', '--wait', '20s');
    expect(code).toBe(1);
    expect(stdout).toBe('{"error":"the valve is stuck"}\n');
    expect(stderr).toContain('the device responded with an error');
  });

  it('exits with 5 when a connected device does not respond in time', async () => {
    const { code, stderr } = await cli('command', 'dev-1', 'hang', '--wait', '100ms');
    expect(code).toBe(5);
    expect(stderr).toMatch(/did not respond in time.*request op-[0-9a-f]{16}/);
  });

  it('exits with 6 for a device that is away without a stored session, and with 3 for an unknown one', async () => {
    await fleet.enroll('dev-2');
    expect((await cli('command', 'dev-2', 'echo')).code).toBe(6);
    expect((await cli('command', 'dev-none', 'echo')).code).toBe(3);
  });

  it('is refused for a device that does not subscribe to its commands, and for one that is suspended', async () => {
    const client = await openMqtt(await fleet.enroll('dev-3'));
    await expect(fleet.operator.commandDevice({ id: 'dev-3', name: 'x' })).rejects.toMatchObject({
      code: 'command_not_received',
    });
    await client.endAsync();
    await fleet.operator.suspendDevices({ ids: ['dev-3'] });
    await expect(fleet.operator.commandDevice({ id: 'dev-3', name: 'x' })).rejects.toMatchObject({
      code: 'device_suspended',
    });
  });

  it('waits for a device that is away and has a session, and is delivered when it connects', async () => {
    const away = await openDevice('dev-4', await fleet.mint());
    await away.close();
    const { code, stdout } = await cli('command', 'dev-4', 'wake');
    expect(code).toBe(0);
    expect(stdout).toContain('stored for dev-4, which is not connected');
    expect((await cli('command', 'dev-4', 'wake', '--wait', '50ms', '--expires', '1h')).code).toBe(6);
    const back = Device.open({ dataDir: join(directory, 'dev-4') });
    const woken = new Promise((resolve) => back.then((opened) => opened.onCommand('wake', resolve)));
    expect(await woken).toMatchObject({ name: 'wake' });
    await (await back).close();
  });

  it('is refused by a usage error when its payload is not JSON', async () => {
    const { code, stderr } = await cli('command', 'dev-1', 'echo', '--payload', '{n:1}');
    expect(code).toBe(2);
    expect(stderr).toContain('expected JSON, or @FILE');
  });

  it('gets the response of a device of MQTT without the SDK, whatever its bytes', async () => {
    const client = await openMqtt(await fleet.enroll('dev-5'));
    client.on('message', (topic) => {
      const parsed = parseDeviceTopic(topic);
      if (parsed?.kind !== 'command') return;
      client.publish(responseTopic(parsed.device, parsed.requestId), Buffer.from([0xff, 0x00]), { qos: 1 });
    });
    await client.subscribeAsync(commandFilter('dev-5' as never), { qos: 1 });
    const result = await fleet.operator.commandDevice({ id: 'dev-5', name: 'raw', base64: 'AAE=', waitSeconds: 20 });
    expect(result).toMatchObject({ outcome: 'answered', delivery: 'connected', response: { base64: '/wA=' } });
    await client.endAsync();
  });
});

describe('the twin of a device', () => {
  it('is empty at first, and shows what the device has not reported yet', async () => {
    expect((await cli('twin', 'get', 'dev-2')).stdout).toBe('desired   none\nreported  none\npending   nothing\n');
    const { code, stdout } = await cli('twin', 'set', 'dev-2', '{"interval":30,"mode":{"eco":true}}');
    expect(code).toBe(0);
    expect(stdout).toContain('desired   version 1  {"interval":30,"mode":{"eco":true}}');
    expect(stdout).toContain('pending   {"interval":30,"mode":{"eco":true}}');
  });

  it('reaches the device, whose report is shown', async () => {
    const reported = new Promise<void>((resolve) => {
      device.twin.onDesired((_delta, { state }) => void device.twin.report(state as object).then(() => resolve()));
    });
    await cli('twin', 'set', 'dev-1', '{"interval":30}');
    await reported;
    await expect
      .poll(() => fleet.operator.showTwin({ id: 'dev-1' }))
      .toMatchObject({
        desired: { version: 1, state: { interval: 30 } },
        reported: { desiredVersion: 1, state: { interval: 30 } },
        pending: {},
      });
  });

  it('is merged, with null as removal, or replaced', async () => {
    await cli('twin', 'set', 'dev-2', '{"interval":null,"mode":{"fan":2}}');
    expect((await fleet.operator.showTwin({ id: 'dev-2' })).desired).toEqual({
      version: 2,
      state: { mode: { eco: true, fan: 2 } },
    });
    await cli('twin', 'set', 'dev-2', '{"a":1}', '--replace');
    expect((await fleet.operator.showTwin({ id: 'dev-2' })).desired).toEqual({ version: 3, state: { a: 1 } });
  });

  it('is not changed when the desired state has another version than the operator expects', async () => {
    const { code, stderr } = await cli('twin', 'set', 'dev-2', '{"a":2}', '--if-version', '2');
    expect(code).toBe(3);
    expect(stderr).toContain('expected the desired state to have version 2, found 3');
    const changes = [1, 2, 3, 4].map((a) => fleet.operator.mergeDesired({ id: 'dev-2', state: { a }, ifVersion: 3 }));
    const outcomes = await Promise.allSettled(changes);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect((await fleet.operator.showTwin({ id: 'dev-2' })).desired?.version).toBe(4);
  });

  it('gets a version that is newer than the last one the device knew, although the server lost it', async () => {
    const client = await openMqtt(await fleet.enroll('dev-6'));
    const report = { version: 3, desiredVersion: 41, state: {} };
    await client.publishAsync(twinTopic('dev-6' as never, 'reported'), JSON.stringify(report), {
      qos: 1,
      retain: true,
    });
    expect((await fleet.operator.mergeDesired({ id: 'dev-6', state: { a: 1 } })).desired?.version).toBe(42);
    await client.endAsync();
  });

  it('is in the audit with version and size, and larger than a packet it is refused', async () => {
    const [entry] = await fleet.operator.listAudit({ subject: 'device/dev-6', limit: 1 });
    expect(entry).toMatchObject({ action: 'device.twin.set', details: { version: 42, bytes: 30 } });
    const state = { a: 'x'.repeat(300_000) };
    await expect(fleet.operator.mergeDesired({ id: 'dev-6', state })).rejects.toMatchObject({ code: 'body_too_large' });
    await expect(fleet.operator.showTwin({ id: 'dev-none' })).rejects.toMatchObject({ code: 'device_unknown' });
  });

  it('goes with its device when that is revoked', async () => {
    await fleet.operator.revokeDevices({ ids: ['dev-6'], reason: 'unspecified' });
    expect(await fleet.operator.showTwin({ id: 'dev-6' })).toEqual({ pending: {} });
  });
});
