/** Spellings of a public host: the program, the shipped agent, an image and the simulator accept each of them. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AgentProgram, buildAgentProgram } from '../fixtures/device-agent.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const workshop = mkdtempSync(join(tmpdir(), 'rollcall-urls-'));
let agentProgram: AgentProgram;
beforeAll(async () => {
  agentProgram = await buildAgentProgram(workshop);
});
afterAll(() => rmSync(workshop, { recursive: true, force: true }));

async function mint(data: string, uses = '1'): Promise<string> {
  const { stdout, stderr, code } = await rollcall(['token', 'create', '--data', data, '--uses', uses]);
  expect([code, stderr]).toEqual([0, expect.stringContaining('only this machine can use it')]);
  return stdout.trim();
}

/** The same token with another spelling of its URL, as older versions created it. */
function respelled(token: string, url: string): string {
  return [...token.split('.').slice(0, 4), Buffer.from(url).toString('base64url')].join('.');
}

describe.each([
  ['127.1', '127.0.0.1', '127.0.0.1'],
  ['::ffff:127.0.0.1', '127.0.0.1', '127.0.0.1'],
  ['0:0:0:0:0:0:0:1', '::1', '[::1]'],
  ['LOCALHOST', '127.0.0.1', 'localhost'],
])('a server with the public host %s', (publicHost, listen, inUrl) => {
  it('is in tokens with which the program and the shipped agent enroll and connect', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, ['--host', listen, '--public-host', publicHost]);
    const { port } = new URL(server.ready.enrollUrl);
    expect(server.ready.enrollUrl).toBe(`https://${inUrl}:${port}`);
    expect(new URL(server.ready.mqttUrl).hostname).toBe(inUrl);

    const out = join(temporaryDirectory(), 'identity');
    const token = await mint(data, '3');
    const enrolled = await rollcall(['device', 'enroll', '--token', '-', '--out', out, '--json'], { stdin: token });
    expect([enrolled.code, enrolled.stderr]).toEqual([0, '']);
    expect(JSON.parse(enrolled.stdout)).toMatchObject({ enrollUrl: server.ready.enrollUrl });

    const place = agentProgram.configure(temporaryDirectory());
    place.giveToken(respelled(token, `https://${bracketed(publicHost)}:${port}`));
    const agent = await place.run();
    await agent.reached('connected');

    const again = join(temporaryDirectory(), 'identity');
    const slashed = respelled(token, `HTTPS://${bracketed(publicHost)}:${port}/`);
    const old = await rollcall(['device', 'enroll', '--token', '-', '--out', again], { stdin: slashed });
    expect([old.code, old.stderr]).toEqual([0, '']);
    expect(JSON.parse(readFileSync(join(again, 'device.json'), 'utf8'))).toMatchObject({
      enrollUrl: server.ready.enrollUrl,
    });
    await server.end('SIGTERM');
  });
});

it('an image and a simulation work with a server whose public host is 127.1', async () => {
  const data = temporaryDirectory();
  const server = await serve(data, ['--public-host', '127.1']);
  const out = join(temporaryDirectory(), 'image');
  const made = await rollcall(['image', 'make', '--data', data, '--out', out, '--uses', '1', '--allow-loopback']);
  expect([made.code, made.stderr]).toEqual([0, '']);
  expect(await rollcall(['image', 'verify', out, '--allow-loopback'])).toMatchObject({ code: 0 });
  const played = await rollcall(['simulate', '--data', data, '--devices', '3', '--seconds', '1', '--json']);
  expect([played.code, played.stderr]).toEqual([0, '']);
  await server.end('SIGTERM');
});

it('a public host that no URL can contain is refused at the start with a clear sentence', async () => {
  const { code, stderr } = await rollcall(['serve', '--data', temporaryDirectory(), '--public-host', 'fe80::1%eth0']);
  expect(code).not.toBe(0);
  expect(stderr).toContain('expected a host name or an IP address that a URL can hold');
});

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
