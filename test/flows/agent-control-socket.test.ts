/** Only the owner of a gateway may change its identity, at the agent's control socket, and move it to another fleet only explicitly. */

import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type RequestListener, request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { identityUriOf } from '../../device-sdk/certificate-chain.ts';
import { requestCsr } from '../../device-sdk/csr.ts';
import { pemKeys } from '../../device-sdk/key-provider.ts';
import { type AgentPlace, type AgentProgram, buildAgentProgram } from '../fixtures/device-agent.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const workshop = mkdtempSync(join(tmpdir(), 'rollcall-control-'));
let agentProgram: AgentProgram;
let own: TestFleet;
let other: TestFleet;

beforeAll(async () => {
  [agentProgram, own, other] = await Promise.all([buildAgentProgram(workshop), startFleet(), startFleet()]);
});
afterAll(async () => {
  await own?.stop();
  await other?.stop();
  rmSync(workshop, { recursive: true, force: true });
});

async function gateway(id: string, lines: readonly string[] = []): Promise<AgentPlace> {
  const place = agentProgram.configure(temporaryDirectory(), [`id = ${id}`, ...lines]);
  place.giveToken(await own.mint());
  return place;
}

function post(
  socketPath: string,
  path: string,
  body = '',
): Promise<{ readonly status: number; readonly code: string }> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path, method: 'POST', agent: false }, async (response) => {
      const text = Buffer.concat(await response.toArray()).toString();
      resolve({ status: response.statusCode ?? 0, code: String((JSON.parse(text) as { code?: string }).code) });
    });
    asking.once('error', reject);
    asking.end(body);
  });
}

const controlOf = ({ socket }: AgentPlace) => join(dirname(socket), 'control/agent.sock');
const identityIn = (directory: string) =>
  ['key.pem', 'cert.pem', 'ca.pem', 'device.json'].map((name) => readFileSync(join(directory, name), 'utf8'));

describe('an application on the gateway', () => {
  it('cannot enroll, renew or move the device, even where all users may use its socket', async () => {
    const place = await gateway('kept-1', ['socket-mode = 666']);
    const agent = await place.run();
    await agent.reached('connected');
    const before = identityIn(place.state);
    for (const path of ['/v1/enroll', '/v1/enroll?replace-fleet=1', '/v1/renew', '/v1/enroll/']) {
      const { status } = await post(place.socket, path, await other.mint());
      expect([path, status >= 400]).toEqual([path, true]);
    }
    expect(await post(place.socket, '/v1/enroll', await other.mint())).toEqual({ status: 403, code: 'owner_required' });
    expect(await post(place.socket, '/v1/renew')).toEqual({ status: 403, code: 'owner_required' });
    expect(identityIn(place.state)).toEqual(before);
    expect(await post(place.socket, '/v1/telemetry/t?wait=1', '1')).toMatchObject({ status: 200 });
  });

  it('cannot enroll a gateway that has no identity yet', async () => {
    const place = agentProgram.configure(temporaryDirectory(), ['socket-mode = 666']);
    await place.run();
    expect(await post(place.socket, '/v1/enroll', await other.mint())).toEqual({ status: 403, code: 'owner_required' });
    expect(await place.command(['enroll', '--token', '-'], await own.mint())).toMatchObject({ code: 0 });
  });

  it('cannot open the control socket: mode 0600 in a directory of mode 0700', async () => {
    const place = await gateway('kept-2', ['socket-mode = 666']);
    await place.run();
    const control = controlOf(place);
    expect([statSync(control).mode & 0o777, statSync(dirname(control)).mode & 0o777]).toEqual([0o600, 0o700]);
    expect(await post(control, '/v1/telemetry/t', '1')).toMatchObject({ status: 404 });
  });
});

it('an agent does not start when other users can enter the directory of its control socket', async () => {
  const place = await gateway('open-1');
  mkdirSync(dirname(controlOf(place)), { recursive: true });
  chmodSync(dirname(controlOf(place)), 0o755);
  await expect(place.run()).rejects.toThrow('to be a directory of mode 700');
});

describe('the owner of the gateway', () => {
  it('cannot use a token of another fleet, with or without a running agent, without an explicit replacement', async () => {
    const place = await gateway('moved-1');
    const agent = await place.run();
    await agent.reached('connected');
    const before = identityIn(place.state);
    for (const agentRuns of [true, false]) {
      if (!agentRuns) await agent.end('SIGTERM');
      const refused = await place.command(['enroll', '--token', '-'], await other.mint());
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('--replace-fleet') });
      expect(identityIn(place.state)).toEqual(before);
    }
    const again = await place.run();
    await again.reached('connected');
    const moved = await place.command(['enroll', '--token', '-', '--replace-fleet'], await other.mint());
    expect([moved.code, moved.stderr]).toEqual([0, '']);
    await again.reached('connected');
    expect((await other.operator.showDevice({ id: 'moved-1' })).session).toBeDefined();
    const [kept, ...more] = readdirSync(join(place.state, 'former'));
    expect([kept, more]).toEqual([expect.stringMatching(/^\d{4}-\d\d-\d\dT/), []]);
    const former = join(place.state, 'former', kept as string);
    expect(identityIn(former)).toEqual(before);
    expect(statSync(join(former, 'key.pem')).mode & 0o777).toBe(0o600);
  });

  it('finds every former identity stored after moving the device there and back without an agent', async () => {
    const place = await gateway('moved-2');
    expect(await place.command(['enroll'])).toMatchObject({ code: 0 });
    const first = identityIn(place.state);
    expect(await place.command(['enroll', '--token', '-', '--replace-fleet'], await other.mint())).toMatchObject({
      code: 0,
    });
    const second = identityIn(place.state);
    expect(second).not.toEqual(first);
    await own.operator.revokeDevices({ ids: ['moved-2'], reason: 'superseded' });
    const token = await own.mint({ device: 'moved-2' as never });
    const back = await place.command(['enroll', '--token', '-', '--replace-fleet'], token);
    expect([back.code, back.stderr]).toEqual([0, '']);
    const former = readdirSync(join(place.state, 'former')).sort();
    expect(former.map((name) => identityIn(join(place.state, 'former', name)))).toEqual([first, second]);
  });

  it('sends no token to a control socket that another local user put there', async () => {
    const place = agentProgram.configure(temporaryDirectory());
    const directory = dirname(controlOf(place));
    mkdirSync(directory, { recursive: true });
    const heard: string[] = [];
    const note: RequestListener = (asked, response) => {
      heard.push(`${asked.method} ${asked.url}`);
      response.end('{}');
    };
    const planted = createServer(note);
    const plantedControl = createServer(note);
    onTestFinished(() => {
      planted.close();
      plantedControl.close();
    });
    await once(planted.listen(place.socket), 'listening');
    await once(plantedControl.listen(controlOf(place)), 'listening');
    if (process.getuid?.() === 0) chownSync(directory, 4711, 4711);
    chmodSync(directory, process.getuid?.() === 0 ? 0o700 : 0o755);
    const refused = await place.command(['enroll', '--token', '-'], await own.mint());
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('only the owner of the agent') });
    expect(heard).toEqual(['GET /v1/status']);
  });

  it('moves a device with an interrupted renewal, whose request names the former fleet', async () => {
    const place = await gateway('moved-3');
    expect(await place.command(['enroll'])).toMatchObject({ code: 0 });
    const store = fileIdentityStore(place.state);
    const { certificatePem } = (await store.load()) as StoredIdentity;
    const uri = identityUriOf(new X509Certificate(certificatePem)) as string;
    const keyPem = await pemKeys.make();
    const subject = { commonName: 'moved-3', uri };
    const csr = await requestCsr(await pemKeys.publicKey(keyPem), subject, (data) => pemKeys.sign(keyPem, data));
    await store.savePending({ commonName: 'moved-3', csr, keyPem });
    const moved = await place.command(['enroll', '--token', '-', '--replace-fleet'], await other.mint());
    expect([moved.code, moved.stderr]).toEqual([0, '']);
  });
});
