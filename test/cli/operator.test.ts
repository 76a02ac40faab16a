/** `rollcall operator` against a running server, and its keys over HTTPS. */

import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { setPasswordByLink } from '../fixtures/one-time-link.ts';
import { PROGRAM, type RunningServer, rollcall, serve, start } from '../fixtures/program.ts';
import { inTerminal } from '../fixtures/pseudo-terminal.ts';

/** Of another fleet. */
const OTHER_ROOT = fileURLToPath(new URL('../fixtures/a-root.pem', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'rollcall-operator-'));
let server: RunningServer;
beforeAll(async () => {
  server = await serve(join(directory, 'data'));
});
afterAll(async () => {
  await server.end('SIGTERM');
  rmSync(directory, { recursive: true });
});

const operator = (...args: string[]) => rollcall(['operator', ...args, '--socket', server.ready.socket]);

function clientWith(file: string) {
  return openConsoleClient({
    url: server.ready.consoleUrl,
    operatorKey: readFileSync(file, 'utf8').trim(),
    ca: readFileSync(server.ready.trustBundle, 'utf8'),
  });
}

describe('rollcall operator', () => {
  it('adds an operator, whose key acts over HTTPS with its role and under its name, until it is disabled', async () => {
    const file = join(directory, 'ada.key');
    expect(await operator('add', 'ada', '--role', 'operator')).toMatchObject({ code: 0, stderr: '' });
    const created = await operator('key', 'create', 'ada', '--role', 'operator', '--ttl', '7d', '--out', file);
    expect(created).toMatchObject({ code: 0, stderr: '' });
    const key = readFileSync(file, 'utf8').trim();
    expect(created.stdout).not.toContain(key.slice(-43));
    expect(statSync(file).mode & 0o777).toBe(0o600);

    const client = clientWith(file);
    await client.createToken({});
    expect(await client.listAudit({ limit: 1 })).toMatchObject([{ action: 'token.minted', actor: 'operator/ada' }]);
    await expect(client.listOperators()).rejects.toMatchObject({ code: 'role_insufficient' });
    const listed = await operator('key', 'list', 'ada');
    expect(listed.stdout).toMatch(/^[0-9a-f]{16} +ada +operator +usable /m);
    const expiring = await rollcall([
      ...['certificates', 'expiring', '--kind', 'operator-key', '--json'],
      ...['--socket', server.ready.socket],
    ]);
    expect(expiring.stdout).toContain('"name":"ada"');

    expect(await operator('disable', 'ada')).toMatchObject({ code: 0 });
    await expect(client.createToken({})).rejects.toMatchObject({ code: 'operator_required' });
    expect((await operator('list')).stdout).toMatch(/^ada +operator +disabled /m);
    expect(await operator('reset', 'ada', '--role', 'viewer')).toMatchObject({ code: 0 });
    expect((await operator('key', 'list', 'ada')).stdout).toMatch(/ revoked /);
    expect(server.log()).not.toContain(key.slice(-43));
  });

  it('overwrites no file with a key, and leaves no file without one', async () => {
    const file = join(directory, 'bob.key');
    expect(await operator('key', 'create', 'bob', '--out', file)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('there is no such operator'),
    });
    await operator('add', 'bob');
    expect(await operator('key', 'create', 'bob', '--out', file)).toMatchObject({ code: 0 });
    const before = readFileSync(file, 'utf8');
    expect((await operator('key', 'create', 'bob', '--out', file)).stderr).toContain('is not overwritten');
    expect(readFileSync(file, 'utf8')).toBe(before);
  });

  it('explains what it does not accept, and repeats no key', async () => {
    const key = `rollcall_${'a'.repeat(16)}_${'S'.repeat(43)}`;
    const revoked = await operator('key', 'revoke', key);
    expect(revoked.stderr).toContain('expected the id of an API key, not the key itself');
    expect(revoked.stderr).not.toContain('SSS');
    expect((await operator('add', 'Ada Lovelace')).stderr).toContain('expected an operator name');
    expect((await operator('add', 'unix')).stderr).toContain('reserved');
    expect((await operator('add', 'eve', '--role', 'root')).stderr).toContain('viewer, operator, admin');
    const tooLong = await operator('key', 'create', 'ada', '--ttl', '366d', '--out', join(directory, 'x.key'));
    expect(tooLong.stderr).toContain('expected 1s to 365d');
  });
});

describe('a command with --server and an API key', () => {
  const remote = (...args: string[]) =>
    rollcall([...args, '--server', server.ready.consoleUrl, '--server-ca', server.ready.trustBundle]);

  it('acts over HTTPS under the name of the operator, as far as the role goes', async () => {
    const key = join(directory, 'carol.key');
    await operator('add', 'carol', '--role', 'operator');
    await operator('key', 'create', 'carol', '--role', 'operator', '--out', key);
    expect(await remote('token', 'create', '--api-key', key)).toMatchObject({ code: 0 });
    const audit = await remote('audit', 'list', '--limit', '1', '--api-key', key);
    expect(audit.stdout).toMatch(/ operator\/carol +token\.minted .* fromAddress=127\.0\.0\.1 /);
    expect((await remote('audit', 'verify', '--api-key', key)).code).toBe(0);
    const refused = await remote('operator', 'list', '--api-key', key);
    expect([refused.code, refused.stdout]).toEqual([3, '']);
    expect(refused.stderr).toContain('this needs the role admin');

    const environment = {
      ROLLCALL_SERVER: server.ready.consoleUrl,
      ROLLCALL_SERVER_CA: server.ready.trustBundle,
      ROLLCALL_API_KEY_FILE: key,
    };
    expect(await rollcall(['token', 'create'], { environment })).toMatchObject({ code: 0 });
    const local = await rollcall(['audit', 'list', '--limit', '1', '--data', join(directory, 'data')], { environment });
    expect(local.stdout).toMatch(/ operator\/carol +token\.minted /);

    chmodSync(key, 0o644);
    const exposed = await remote('token', 'list', '--api-key', key);
    expect(exposed.stderr).toContain('found 644');
    expect(exposed.stderr).not.toContain(readFileSync(key, 'utf8').trim().slice(-43));
  });

  it('is refused without a key, with a socket as well, or with a URL that is none of a console', async () => {
    const key = join(directory, 'dave.key');
    await operator('add', 'dave');
    await operator('key', 'create', 'dave', '--out', key);
    expect((await remote('token', 'list')).stderr).toContain(
      'expected --api-key FILE, or --cert FILE and --key FILE, with --server',
    );
    const both = await remote('token', 'list', '--api-key', key, '--socket', server.ready.socket);
    expect(both.stderr).toContain('expected one of --socket and --server');
    for (const url of ['http://localhost:1', 'https://localhost:1/path', 'localhost']) {
      const { stderr } = await rollcall(['token', 'list', '--server', url, '--api-key', key, '--server-ca', key]);
      expect(stderr).toContain('expected --server as https://HOST:PORT');
    }
    const stranger = ['--server', server.ready.consoleUrl, '--api-key', key, '--server-ca', OTHER_ROOT];
    expect(await rollcall(['token', 'list', ...stranger])).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('--server-ca'),
    });
  });
});

describe('a person', () => {
  it('gets a link for the first operator at a terminal, and by a command, whose link replaces it', async () => {
    const data = join(directory, 'first');
    const terminal = inTerminal([process.execPath, PROGRAM, 'serve', '--data', data, ...FREE_PORTS], {
      environment: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    });
    const first = new URL(await terminal.untilPrinted(/https:\/\/localhost:\d+\/set-up#[\w-]{43}/));
    const made = await rollcall(['operator', 'set-up-link', '--data', data]);
    expect(made.stderr).toContain('adds the first operator');
    const second = new URL(made.stdout.trim());
    const setUp = (link: URL) =>
      setPasswordByLink(link.href, readFileSync(join(data, 'trust-bundle.pem'), 'utf8'), 'grace');
    expect(await setUp(first)).toMatchObject({ status: 404, json: { code: 'link_invalid' } });
    expect(await setUp(second)).toMatchObject({ status: 200, json: { operator: 'grace', role: 'admin' } });
    expect((await rollcall(['operator', 'set-up-link', '--data', data])).stderr).toContain('there is an operator');
    const listed = await rollcall(['operator', 'session', 'list', '--data', data]);
    expect(listed.stdout).toMatch(/^[0-9a-f]{16} +grace +link /m);
    terminal.type('\u0003');
    const { stdout } = await terminal.ended;
    for (const link of [first, second]) expect(stdout.replace(first.href, '')).not.toContain(link.hash.slice(1));
  });

  it('gets no link in a pipe, but the command that makes one', async () => {
    expect((await rollcall(['operator', 'link', 'nobody', '--socket', server.ready.socket])).stderr).toContain(
      'there is no such operator',
    );
    const child = start(['serve', '--data', join(directory, 'piped'), ...FREE_PORTS], {});
    let printed = '';
    for await (const chunk of child.stdout as NodeJS.ReadableStream) {
      printed += String(chunk);
      if (printed.includes('set-up')) break;
    }
    expect(printed).toMatch(/^set-up {4}"rollcall operator set-up-link --data .*piped" makes a link/m);
    expect(printed).not.toContain('#');
    child.kill('SIGTERM');
    await once(child, 'exit');
  });

  it('signs in by a link of an admin, until that session is ended', async () => {
    await operator('add', 'dora');
    const link = await operator('link', 'dora');
    expect(link).toMatchObject({ code: 0, stderr: expect.stringContaining('dora sets a password there') });
    const used = await setPasswordByLink(link.stdout.trim(), readFileSync(server.ready.trustBundle, 'utf8'));
    expect(used).toMatchObject({ status: 200, json: { operator: 'dora', role: 'viewer' } });
    const id = used.json.session.id;
    expect((await operator('session', 'list', 'dora')).stdout).toContain(id);
    expect(await operator('session', 'end', id)).toMatchObject({ code: 0 });
    expect((await operator('session', 'list', 'dora')).stderr).toContain('no operator is signed in');
    expect(server.log()).not.toContain(link.stdout.trim().split('#')[1]);
  });
});

const FREE_PORTS = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
