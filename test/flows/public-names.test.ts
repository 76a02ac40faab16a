/** A server, and a gateway that is another machine: names in tokens and images, and what each program says when one is of no use. */

import { existsSync, readFileSync } from 'node:fs';

import { createServer as createTlsServer, get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { EST_PATHS } from '@rollcall/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { twoMachines } from '../fixtures/network-namespaces.ts';
import { lastingPorts, type ProgramOptions, type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

async function served(data: string, args: readonly string[], options: ProgramOptions = {}): Promise<RunningServer> {
  const server = await serve(data, args, options);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  return server;
}

/** An image of a server that has this name, in a directory of its own. */
async function imageOf(data: string, ...options: readonly string[]): Promise<string> {
  const out = join(temporaryDirectory(), 'image');
  const made = await rollcall(['image', 'make', '--data', data, '--out', out, '--uses', '1', ...options]);
  expect(made).toMatchObject({ code: 0, stderr: '' });
  return out;
}

const ofThisMachine =
  /the token names https:\/\/localhost:\d+: only this machine can use it; for others start the server with --host ADDRESS --public-host NAME/;

describe('a server that other machines can reach and that has no name for them', () => {
  it('says so at its start and with each token, and makes no image unless told otherwise', async () => {
    const data = join(temporaryDirectory(), 'data');
    const server = await served(data, ['--host', '0.0.0.0']);
    await server.untilLogged('tokens and images name a loopback address');
    expect(server.log()).toContain('"flag":"--public-host"');
    const token = await rollcall(['token', 'create', '--data', data]);
    expect([token.code, token.stderr]).toEqual([0, expect.stringMatching(ofThisMachine)]);
    expect(token.stdout).toMatch(/^rc1\.\S+\n$/);
    const service = join(temporaryDirectory(), 'service');
    const issued = await rollcall(['service', 'issue', 'dash', '--data', data, '--out', service]);
    expect([issued.code, issued.stderr]).toEqual([
      0,
      expect.stringMatching(/service\.json names https:\/\/localhost:\d+: only this machine can use it/),
    ]);

    const out = join(temporaryDirectory(), 'image');
    for (const kind of [
      ['--uses', '1'],
      ['--count', '2'],
    ]) {
      const refused = await rollcall(['image', 'make', '--data', data, '--out', out, ...kind]);
      expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(ofThisMachine)]);
      expect(existsSync(out)).toBe(false);
    }
    const tokens = JSON.parse((await rollcall(['token', 'list', '--data', data, '--json'])).stdout) as {
      state: string;
    }[];
    expect(tokens.map(({ state }) => state).sort()).toEqual(['usable', 'void', 'void']);

    const image = await imageOf(data, '--allow-loopback');
    const verified = await rollcall(['image', 'verify', image]);
    expect(verified.code).toBe(2);
    expect(verified.stdout).toMatch(
      /token: it names https:\/\/localhost:\d+, which is the gateway itself; .*--public-host/,
    );
    const here = await rollcall(['image', 'verify', image, '--allow-loopback', '--connect']);
    expect(here).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('the image is valid\nits servers answer here'),
    });
  });
});

describe('a gateway on another machine', () => {
  it('enrolls by the address that the server was given, and its image is verified from there', async ({ skip }) => {
    const machines = twoMachines();
    if (machines === undefined) return skip('network namespaces cannot be made here');
    const [{ address, entrance }, gateway] = machines;
    const data = join(temporaryDirectory(), 'data');
    const server = await served(data, ['--host', '0.0.0.0', '--public-host', address], { below: entrance });
    expect(new URL(server.ready.enrollUrl).hostname).toBe(address);
    expect(server.log()).not.toContain('loopback');
    const image = await imageOf(data);
    expect(await rollcall(['image', 'verify', image])).toMatchObject({ code: 0 });
    const there = { below: gateway.entrance };
    expect(await rollcall(['image', 'verify', image, '--connect'], there)).toMatchObject({ code: 0 });
    const enroll = [
      'device',
      'enroll',
      '--token',
      `@${join(image, 'token')}`,
      '--out',
      join(temporaryDirectory(), 'd'),
    ];
    expect(await rollcall(enroll, there)).toMatchObject({ code: 0, stderr: '' });

    await server.end('SIGTERM');
    const { host } = new URL(server.ready.enrollUrl);
    const refused = await rollcall(['image', 'verify', image, '--connect'], there);
    expect(refused.code).toBe(2);
    expect(refused.stdout).toContain(`its EST server ${host}: `);
    expect(refused.stdout).toContain('ECONNREFUSED, nothing accepts connections there\n');
    return undefined;
  });
});

describe('device enroll', () => {
  /** A token of a server that has ended, which named itself so. */
  async function tokenOf(publicHost: string): Promise<{ readonly token: string; readonly host: string }> {
    const data = join(temporaryDirectory(), 'data');
    const server = await serve(data, ['--public-host', publicHost]);
    const { stdout } = await rollcall(['token', 'create', '--data', data]);
    await server.end('SIGTERM');
    return { token: stdout.trim(), host: new URL(server.ready.enrollUrl).host };
  }

  it('names host, port and the reason when nothing listens, and when the name does not resolve', async () => {
    for (const [publicHost, reason] of [
      ['localhost', 'ECONNREFUSED, nothing accepts connections there; that name is this machine itself'],
      ['no-such-host.invalid', /(ENOTFOUND|EAI_AGAIN), the name no-such-host\.invalid does not resolve/],
    ] as const) {
      const { token, host } = await tokenOf(publicHost);
      const enroll = ['device', 'enroll', '--token', '-', '--out', join(temporaryDirectory(), 'device')];
      const { code, stderr } = await rollcall(enroll, { stdin: token });
      expect(code).toBe(4);
      expect(stderr).toContain(`${host}: `);
      expect(stderr).toMatch(reason);
    }
  });

  it('names an address that no machine has', async ({ skip }) => {
    const machines = twoMachines();
    if (machines === undefined) return skip('network namespaces cannot be made here');
    const { token, host } = await tokenOf('10.213.77.9');
    const enroll = ['device', 'enroll', '--token', '-', '--out', join(temporaryDirectory(), 'device')];
    const { stderr } = await rollcall(enroll, { stdin: token, below: machines[0].entrance });
    expect(stderr).toContain(`${host}: EHOSTUNREACH, no machine with this address answers`);
    return undefined;
  });
});

describe('image verify --connect', () => {
  it('tells a server without the name, one of another fleet, and one behind a proxy that ends TLS', async () => {
    const data = join(temporaryDirectory(), 'data');
    const place = ['--host', '127.0.0.2'];
    const ports = await lastingPorts();
    const server = await served(data, [...place, '--public-host', '127.0.0.2', ...ports]);
    const image = await imageOf(data, '--allow-loopback');
    const verify = async () => (await rollcall(['image', 'verify', image, '--allow-loopback', '--connect'])).stdout;
    expect(await verify()).toContain('the image is valid');
    const { host, port } = new URL(server.ready.enrollUrl);
    const authorities = await body(`${server.ready.enrollUrl}${EST_PATHS.cacerts}`);
    await server.end('SIGTERM');

    const renamed = await served(data, [...place, '--public-host', 'fleet.example.net', ...ports]);
    expect(await verify()).toMatch(
      new RegExp(
        `its EST server ${host}: the certificate there does not name 127\\.0\\.0\\.2; it names .*fleet\\.example\\.net`,
      ),
    );
    await renamed.end('SIGTERM');

    const foreign = join(temporaryDirectory(), 'data');
    const other = await served(foreign, [...place, '--public-host', '127.0.0.2', ...ports]);
    expect(await verify()).toContain('none of the CA certificates there is the root that the token names');
    await other.end('SIGTERM');

    const key = readFileSync(join(foreign, 'ca/root.key'), 'utf8');
    const cert = readFileSync(join(foreign, 'ca/root.pem'), 'utf8');
    const proxy = createTlsServer({ key, cert }, (_, response) => response.end(authorities));
    await new Promise<void>((resolve) => proxy.listen(Number(port), '127.0.0.2', resolve));
    onTestFinished(() => void proxy.close());
    expect((proxy.address() as AddressInfo).port).toBe(Number(port));
    expect(await verify()).toContain('does not lead to the root that the token names');
  });
});

/** What an unverified server answers. */
function body(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false, rejectUnauthorized: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
      });
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
}
