/** Device operations on the command line: selection, confirmation, the report of closed sessions, and the audit. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ended } from '../fixtures/child-process.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet.stop());

function run(...args: string[]): Promise<Ended> {
  return rollcall([...args, '--data', fleet.data]);
}

// biome-ignore lint/suspicious/noExplicitAny: tests read properties of any response
async function json(...args: string[]): Promise<any> {
  const { stdout, stderr, code } = await run(...args, '--json');
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

const enrollWith = (token: string, deviceId: string) => enrollOnce(memoryIdentityStore(), { token, deviceId });
const statusOf = async (id: string) => (await fleet.operator.showDevice({ id })).status;

describe('rollcall device revoke', () => {
  it('reports for a device that its session was closed', async () => {
    const device = await fleet.enroll('proof-1');
    const client = await connectMqtt(device);
    await client.publishAsync('devices/proof-1/telemetry/temp', '1', { qos: 1 });
    const answer = await json('device', 'revoke', 'proof-1', '--reason', 'keyCompromise');
    expect(answer).toMatchObject({
      act: 'revoke',
      sessionsClosed: 1,
      brokersConfirmed: 1,
      devices: [
        { device: 'proof-1', status: 'revoked', reason: 'keyCompromise', sessionsClosed: 1, brokersConfirmed: 1 },
      ],
    });
    expect(answer.lastMessageAt <= answer.revokedAt).toBe(true);
    expect(answer.propagationMs).toBeGreaterThan(0);
    expect(await fleet.operator.metrics()).toMatch(/^rollcall_revocation_propagation_seconds_count [1-9]/m);
  });

  it('requires confirmation for more than one device, and refuses it when the selection has changed', async () => {
    const token = await fleet.mint({ uses: 3, group: 'bulk', labels: { site: 'north' } });
    const [, id] = token.split('.') as [string, string];
    const add = (name: string) => enrollWith(token, name);
    await add('bulk-1');
    await add('bulk-2');
    const order = ['device', 'revoke', '--group', 'bulk', '--label', 'site=north', '--reason', 'keyCompromise'];

    const unconfirmed = await run(...order, '--json');
    expect(unconfirmed.code).toBe(3);
    expect(JSON.parse(unconfirmed.stderr)).toMatchObject({ code: 'confirmation_required' });
    const dry = await json(...order, '--dry-run');
    expect(dry).toMatchObject({ act: 'revoke', count: 2, devices: ['bulk-1', 'bulk-2'] });
    expect(await statusOf('bulk-1')).toBe('active');

    await add('bulk-3');
    const stale = await run(...order, '--confirm', dry.confirmation, '--json');
    expect(JSON.parse(stale.stderr)).toMatchObject({ code: 'confirmation_stale' });
    expect(await statusOf('bulk-1')).toBe('active');
    const text = await run(...order, '--dry-run');
    expect(text.stdout).toBe('bulk-1\nbulk-2\nbulk-3\n');
    const confirmation = /--confirm (\S+)/.exec(text.stderr)?.[1] as string;
    expect((await json(...order, '--confirm', confirmation)).devices).toHaveLength(3);
    expect(await statusOf('bulk-3')).toBe('revoked');
    const empty = await run(...order, '--yes', '--json');
    expect(JSON.parse(empty.stderr)).toMatchObject({ code: 'selection_empty' });

    const blast = await json('token', 'issued', id);
    expect(blast.devices.map((found: { device: string }) => found.device)).toEqual(['bulk-1', 'bulk-2', 'bulk-3']);
  });

  it('reads ids from a file, and names a line that is not an id', async () => {
    for (const name of ['file-1', 'file-2']) await fleet.enroll(name);
    const file = join(temporaryDirectory(), 'ids');
    writeFileSync(file, 'file-1 # the first\n\nfile-2\n');
    const order = ['device', 'revoke', '--file', file, '--reason', 'cessationOfOperation', '--yes'];
    expect((await json(...order)).devices).toHaveLength(2);
    writeFileSync(file, 'a/b\n');
    expect(await run(...order)).toMatchObject({ code: 2, stderr: expect.stringContaining('"a/b"') });
  });
});

describe('rollcall device suspend, resume, quarantine, disconnect and delete', () => {
  it('take effect on an open session', async () => {
    const device = await fleet.enroll('acts-1');
    const client = await connectMqtt(device);
    const ended = closed(client);
    expect(await json('device', 'suspend', 'acts-1')).toMatchObject({ sessionsClosed: 1, brokersConfirmed: 1 });
    await ended;
    await expect(connectMqtt(device)).rejects.toThrow();
    expect((await run('device', 'show', 'acts-1')).stdout).toMatch(/^status {4}suspended \(since 20/m);
    await json('device', 'resume', 'acts-1');
    await connectMqtt(device);
    expect(await json('device', 'quarantine', 'acts-1')).toMatchObject({ sessionsClosed: 0 });
    expect(await json('device', 'disconnect', 'acts-1')).toMatchObject({ sessionsClosed: 1 });
    expect((await run('device', 'list', '--status', 'quarantined')).stdout).toContain('acts-1');
    await json('device', 'delete', 'acts-1');
    expect((await run('device', 'show', 'acts-1', '--json')).code).toBe(3);
    await fleet.enroll('acts-1');
  });

  it('apply the new group and labels of a device at once', async () => {
    await fleet.enroll('set-1');
    await json('device', 'set', 'set-1', '--group', 'spares', '--label', 'site=north');
    expect(await json('device', 'set', 'set-1', '--label', 'site=', '--label', 'line=4')).toMatchObject({
      group: 'spares',
      labels: { line: '4' },
    });
    expect((await run('device', 'set', 'set-1')).code).toBe(2);
  });
});

describe('rollcall policy', () => {
  it('shows and sets the policy of quarantined devices', async () => {
    const shown = await run('policy', 'show', 'quarantine/*');
    expect(shown.stdout).toContain('devices/${device.id}/responses/+');
    expect(shown.stdout).not.toContain('telemetry');
    const file = join(temporaryDirectory(), 'quarantine.yaml');
    writeFileSync(file, 'connect: ["${device.id}"]\npublish: ["devices/${device.id}/telemetry/+"]\n');
    expect((await run('policy', 'set', 'quarantine/*', file)).code).toBe(0);
    expect((await run('policy', 'show', 'quarantine/*')).stdout).toContain('devices/${device.id}/telemetry/+');
    expect((await run('policy', 'show', 'quarantine/x')).code).toBe(2);
    const device = await fleet.enroll('quiet-1');
    await json('device', 'quarantine', 'quiet-1');
    const client = await connectMqtt(device);
    await client.publishAsync('devices/quiet-1/telemetry/temp', '1', { qos: 1 });
  });
});

describe('rollcall token issued', () => {
  it('shows the devices that a token enrolled, and quarantines all of them', async () => {
    const token = await fleet.mint({ uses: 2 });
    const id = token.split('.')[1] as string;
    for (const name of ['leak-1', 'leak-2']) await enrollWith(token, name);
    expect((await run('token', 'issued', id)).stdout).toMatch(/^leak-2 +active +[0-9a-f]+ +good /m);
    expect((await run('token', 'issued', id, '--quarantine')).code).toBe(3);
    const { confirmation } = await json('token', 'issued', id, '--quarantine', '--dry-run');
    expect((await json('token', 'issued', id, '--quarantine', '--confirm', confirmation)).devices).toHaveLength(2);
    expect(await statusOf('leak-2')).toBe('quarantined');
    expect((await fleet.operator.showIssuedFrom({ id })).token.state).toBe('void');
    expect((await run('token', 'issued', '0000000000000000')).code).toBe(3);
  });
});

describe('rollcall audit', () => {
  it('verifies the chain and an export, and finds changed entries', async () => {
    await json('audit', 'list', '--limit', '1');
    const { stdout, code } = await run('audit', 'verify');
    expect(code).toBe(0);
    const head = /: (\d+:[0-9a-f]{64})$/m.exec(stdout)?.[1] as string;
    expect(await json('audit', 'verify', '--head', head)).toMatchObject({ isWhole: true });
    const wrong = await run('audit', 'verify', '--head', `1:${'0'.repeat(64)}`);
    expect(wrong).toMatchObject({ code: 3, stdout: expect.stringMatching(/^the audit is not intact: entry 1 /) });

    const exported = (await run('audit', 'export')).stdout;
    const file = join(temporaryDirectory(), 'audit.ndjson');
    const verify = async (text: string, ...args: string[]) => {
      writeFileSync(file, text);
      return rollcall(['audit', 'verify', '--file', file, ...args]);
    };
    expect((await verify(exported, '--head', head)).stdout).toContain(`store its head on another machine: ${head}`);
    const lines = exported.trimEnd().split('\n');
    const bad: readonly [string, RegExp][] = [
      [exported.replace('token.minted', 'token.voided'), /does not have the hash it was written with/],
      [lines.toSpliced(3, 1).join('\n'), /expected entry 4, found 5/],
      [lines.slice(0, -1).join('\n'), /the end is missing/],
      [`${lines.join('\n')}\n{}`, /is not an audit entry/],
    ];
    for (const [text, fault] of bad) expect((await verify(text, '--head', head)).stdout).toMatch(fault);
    expect((await run('audit', 'export', '--after', '3')).stdout).toBe(`${lines.slice(3).join('\n')}\n`);
  });

  it('lists the operations on one device', async () => {
    const { stdout } = await run('audit', 'list', '--subject', 'device/acts-1');
    expect(stdout.match(/device\.(suspended|resumed|quarantined|deleted)/g)).toHaveLength(4);
  });
});
