/** `rollcall-device doctor` reports each cause that prevents a device from connecting, in one line. */

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseBootstrapToken } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Finding } from '../../device-sdk/agent/doctor.ts';
import { type AgentPlace, type AgentProgram, buildAgentProgram } from '../fixtures/device-agent.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const workshop = mkdtempSync(join(tmpdir(), 'rollcall-doctor-'));
let agentProgram: AgentProgram;
let fleet: TestFleet;

beforeAll(async () => {
  [agentProgram, fleet] = await Promise.all([buildAgentProgram(workshop), startFleet()]);
});
afterAll(async () => {
  await fleet?.stop();
  rmSync(workshop, { recursive: true, force: true });
});

async function enrolled(id: string): Promise<AgentPlace> {
  const place = agentProgram.configure(temporaryDirectory(), [`id = ${id}`]);
  place.giveToken(await fleet.mint());
  expect(await place.command(['enroll'])).toMatchObject({ code: 0 });
  return place;
}

/** The findings by check, and the exit code. */
async function examine(place: AgentPlace) {
  const { code, stdout } = await place.command(['doctor', '--json']);
  const findings = JSON.parse(stdout) as readonly Finding[];
  const of = (check: Finding['check']) => findings.find((finding) => finding.check === check);
  return { code, of, outcomes: Object.fromEntries(findings.map(({ check, outcome }) => [check, outcome])) };
}

it('doctor finds nothing wrong with a device that can connect, which still can afterwards', async () => {
  const place = await enrolled('well-1');
  const { code, outcomes } = await examine(place);
  expect(outcomes).toEqual({
    agent: 'ok',
    identity: 'ok',
    certificate: 'ok',
    names: 'ok',
    network: 'ok',
    clock: 'ok',
    server: 'ok',
    connection: 'ok',
    rules: 'ok',
  });
  expect(code).toBe(0);
  const text = (await place.command(['doctor'])).stdout;
  expect(text).toMatch(/^connection +ok +the broker accepted this device$/m);
  await (await place.run()).reached('connected');
});

it('an agent whose listen port is taken names the setting and the address, and so does its doctor', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as { readonly port: number };
  const place = agentProgram.configure(temporaryDirectory(), [`listen = 127.0.0.1:${port}`]);
  place.giveToken(await fleet.mint());
  const started = await place.command(['run']);
  expect(started).toMatchObject({ code: 1, stdout: '' });
  expect(started.stderr).toContain(`listen = 127.0.0.1:${port}: another program listens there`);
  expect(started.stderr).not.toContain('the reason is in its log');
  const { code, of } = await examine(place);
  expect({ code, outcome: of('listen')?.outcome }).toEqual({ code: 1, outcome: 'failed' });
  expect(of('listen')?.found).toContain(`listen = 127.0.0.1:${port}`);

  await new Promise((resolve) => other.close(resolve));
  expect((await examine(place)).of('listen')).toMatchObject({ outcome: 'ok' });
});

it('doctor queries the running agent instead of taking over its session', async () => {
  const place = await enrolled('well-2');
  const agent = await place.run();
  await agent.reached('connected');
  const { of } = await examine(place);
  expect(of('connection')).toMatchObject({ outcome: 'ok', found: 'the agent is connected' });
  const { session } = await fleet.operator.showDevice({ id: 'well-2' });
  expect(session).toBeDefined();
});

it('doctor checks a device that is not enrolled up to its token, without consuming it', async () => {
  const place = agentProgram.configure(temporaryDirectory());
  place.giveToken(await fleet.mint());
  const { outcomes } = await examine(place);
  expect(outcomes).toMatchObject({ identity: 'ok', network: 'ok', server: 'ok', connection: 'skipped' });
  expect(await place.command(['enroll'])).toMatchObject({ code: 0 });
});

it('doctor reports a missing token, and where to put one', async () => {
  const place = agentProgram.configure(temporaryDirectory());
  const { code, of } = await examine(place);
  expect(of('identity')).toMatchObject({
    outcome: 'failed',
    found: expect.stringContaining('no token'),
    fix: expect.stringContaining(place.tokenFile),
  });
  expect(code).toBe(1);
});

it('doctor reports a truncated token, and never prints it', async () => {
  const place = agentProgram.configure(temporaryDirectory());
  const token = await fleet.mint();
  place.giveToken(token.slice(0, 40));
  const { stdout } = await place.command(['doctor']);
  expect(stdout).toContain('the token is not whole');
  expect(stdout).not.toContain(token.slice(0, 20));
});

it('doctor reports that token and server are of different fleets', async () => {
  const place = agentProgram.configure(temporaryDirectory());
  const token = await fleet.mint();
  const pin = parseBootstrapToken(token)?.rootSha256 as string;
  const otherPin = Buffer.from(Buffer.from(pin, 'hex').map((byte) => byte ^ 0xff));
  const text = [
    token.replace(pin, otherPin.toString('hex')),
    token.replace(Buffer.from(pin, 'hex').toString('base64url'), otherPin.toString('base64url')),
  ].find((candidate) => candidate !== token);
  place.giveToken(text as string);
  const { of } = await examine(place);
  expect(of('server') ?? of('identity')).toMatchObject({ outcome: 'failed' });
});

it('doctor reports that the server cannot be reached', async () => {
  const place = await enrolled('away-1');
  const about = join(place.state, 'device.json');
  const file = JSON.parse(readFileSync(about, 'utf8')) as Record<string, unknown>;
  writeFileSync(about, JSON.stringify({ ...file, enrollUrl: 'https://localhost:9' }));
  const { of } = await examine(place);
  expect(of('network')).toMatchObject({ outcome: 'failed', found: expect.stringContaining('ECONNREFUSED') });
});

it('doctor reports that a host name cannot be resolved', async () => {
  const place = await enrolled('away-2');
  const about = join(place.state, 'device.json');
  const file = JSON.parse(readFileSync(about, 'utf8')) as Record<string, unknown>;
  writeFileSync(about, JSON.stringify({ ...file, enrollUrl: 'https://nowhere.invalid:8443' }));
  const { of, outcomes } = await examine(place);
  expect(of('names')).toMatchObject({ outcome: 'failed', found: expect.stringContaining('nowhere.invalid') });
  expect(outcomes.network).toBe('skipped');
});

it('doctor reports that the server is of another fleet', async () => {
  const place = await enrolled('strange-1');
  const other = await startFleet();
  try {
    const about = join(place.state, 'device.json');
    const file = JSON.parse(readFileSync(about, 'utf8')) as Record<string, unknown>;
    writeFileSync(about, JSON.stringify({ ...file, enrollUrl: other.enrollUrl }));
    const { of } = await examine(place);
    expect(of('server')).toMatchObject({ outcome: 'failed', fix: expect.stringContaining('another server') });
  } finally {
    await other.stop();
  }
});

it('doctor reports that the device is revoked, and what to ask an operator for', async () => {
  const place = await enrolled('lost-1');
  await fleet.operator.revokeDevices({ ids: ['lost-1'], reason: 'keyCompromise' });
  const { code, of } = await examine(place);
  expect(of('server')).toMatchObject({ outcome: 'ok' });
  expect(of('connection')).toMatchObject({ outcome: 'failed', fix: expect.stringContaining('revoked') });
  expect(code).toBe(1);
});

it('doctor reports that the access rules deny every publish', async () => {
  await fleet.operator.setPolicy({ kind: 'group', name: 'mute', connect: ['${device.id}'] });
  const place = agentProgram.configure(temporaryDirectory(), ['id = mute-1']);
  place.giveToken(await fleet.mint({ group: 'mute' }));
  expect(await place.command(['enroll'])).toMatchObject({ code: 0 });
  const { of } = await examine(place);
  expect(of('connection')).toMatchObject({ outcome: 'ok' });
  expect(of('rules')).toMatchObject({ outcome: 'warning', fix: expect.stringContaining('policy explain mute-1') });
});

it('doctor reports that other users can read the key', async () => {
  const place = await enrolled('open-1');
  chmodSync(join(place.state, 'key.pem'), 0o644);
  const { of } = await examine(place);
  expect(of('identity')).toMatchObject({ outcome: 'failed', fix: expect.stringContaining('chmod 600') });
});

it('doctor reports an expired certificate, and continues with the other checks', async () => {
  // By the clock of the device the certificate of this fleet expired long ago.
  const past = await startFleet({ now: () => Date.now() - 200 * 86_400_000 });
  const place = agentProgram.configure(temporaryDirectory(), ['id = old-1']);
  try {
    place.giveToken(await past.mint());
    const { of } = await examine(place);
    expect(of('server')).toMatchObject({ outcome: 'failed', fix: expect.stringContaining('set its clock') });
  } finally {
    await past.stop();
  }
});
