import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRequestLimits } from '../limits/index.ts';
import { NO_REQUEST_LIMITS } from '../limits/request-limits.ts';
import { makeCertificate, openTestConsole, send, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { describeWithClients } from '../test/fixtures/real-client.ts';
import { outputOf } from '../test/fixtures/started-processes.ts';
import { openBearerKey } from './bearer-key.ts';
import { openConsoleClient } from './client.ts';
import { createConsole } from './console.ts';
import { endpoints } from './endpoints.ts';

let fixture: TestConsole;
const logged: string[] = [];
beforeAll(async () => {
  fixture = await openTestConsole({ log: pino({ level: 'trace' }, { write: (line) => logged.push(line) }) });
});
afterAll(() => fixture.close());

const withKey = (key = fixture.operatorKey) => ({ authorization: `Bearer ${key}` });
const overTcp = (headers: Readonly<Record<string, string>>, path = '/v1/tokens') =>
  send(fixture, { listener: 'tcp', path, headers });
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('the unix socket', () => {
  it('is accessible to its owner only, and needs no key', async () => {
    expect(modeOf(fixture.options.socketPath)).toBe('600');
    expect((await send(fixture, { path: '/v1/tokens' })).status).toBe(200);
  });

  it('is created with that mode under a permissive umask, which stays as it was', async () => {
    const before = process.umask(0);
    try {
      const other = await openTestConsole();
      expect(process.umask()).toBe(0);
      expect(modeOf(other.options.socketPath)).toBe('600');
      await other.close();
    } finally {
      process.umask(before);
    }
  });

  it('of a running server is not taken over', async () => {
    await expect(createConsole(fixture.options)).rejects.toMatchObject({ code: 'data_directory_busy' });
    expect((await send(fixture, { path: '/v1/health' })).status).toBe(200);
  });

  it('of a dead server is replaced', async () => {
    const other = await openTestConsole();
    await other.console.close();
    const listen = `require('net').createServer().listen(${JSON.stringify(other.options.socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', listen]);
    expect(existsSync(other.options.socketPath)).toBe(true);
    const again = await createConsole(other.options);
    expect(await other.client.health()).toMatchObject({ status: 'ok' });
    expect(modeOf(other.options.socketPath)).toBe('600');
    await again.close();
    await other.close();
  });

  it('does not replace a file', async () => {
    const file = join(fixture.dir, 'precious');
    writeFileSync(file, 'data');
    await expect(createConsole({ ...fixture.options, socketPath: file })).rejects.toMatchObject({
      code: 'data_directory_unusable',
    });
    expect(readFileSync(file, 'utf8')).toBe('data');
  });

  it('is closed again when the TCP address is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const socketPath = join(fixture.dir, 'second.sock');
    await expect(createConsole({ ...fixture.options, socketPath, port })).rejects.toMatchObject({
      code: 'address_in_use',
    });
    expect(existsSync(socketPath)).toBe(false);
    await new Promise((resolve) => taken.close(resolve));
  });
});

describe('the TCP listener', () => {
  let minted: string;

  it('accepts the operator key', async () => {
    expect((await overTcp(withKey())).status).toBe(200);
    const client = openConsoleClient({
      url: fixture.console.url,
      operatorKey: fixture.operatorKey,
      ca: fixture.tls.cert,
    });
    minted = (await client.createToken({})).text;
    expect(await client.listAudit({ limit: 1 })).toMatchObject([{ action: 'token.minted', actor: 'operator/key' }]);
  });

  it.each<[string, () => Readonly<Record<string, string>>]>([
    ['no key', () => ({})],
    ['a wrong key', () => withKey('A'.repeat(43))],
    ['the key with a character more', () => withKey(`${fixture.operatorKey}A`)],
    ['the key with a character less', () => withKey(fixture.operatorKey.slice(0, -1))],
    ['an empty key', () => ({ authorization: 'Bearer ' })],
    ['the key in another scheme', () => ({ authorization: `Basic ${fixture.operatorKey}` })],
  ])('refuses %s on every route that operators have', async (_, headers) => {
    fixture.clock.now += 3_600_000; // whatever was counted against this address is forgotten
    const answer = await overTcp(headers());
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="rollcall"');
    expect(answer.json).toMatchObject({ code: 'operator_required' });
  });

  it('serves no route without a key or a session but health, probes and sign-in', async () => {
    const open = ['GET /v1/health', 'GET /livez', 'GET /readyz', 'GET /v1/sign-in'];
    for (const { method, path, access } of Object.values(endpoints)) {
      fixture.clock.now += 3_600_000;
      const answer = await send(fixture, { listener: 'tcp', method, path: path.replace(/:[a-z]+/g, 'x') });
      const name = `${method} ${path}`;
      // Signing in is for pages of this console alone. This one has no identity provider to send browsers to.
      const ofAnyone = path.startsWith('/v1/sign-in/oidc') ? 404 : 403;
      const expected = open.includes(name) ? 200 : access === 'anyone' ? ofAnyone : 401;
      expect([name, answer.status]).toEqual([name, expected]);
    }
  });

  it('accepts the metrics key for metrics and refuses it on every other route', async () => {
    const allowed: string[] = [];
    for (const { method, path, access } of Object.values(endpoints)) {
      if (access === 'anyone' || access === 'probe') continue;
      fixture.clock.now += 3_600_000;
      const headers = withKey(fixture.metricsKey);
      const answer = await send(fixture, { listener: 'tcp', method, path: path.replace(/:[a-z]+/g, 'x'), headers });
      if (answer.status === 200) allowed.push(`${method} ${path}`);
      else expect([path, answer.status, answer.json.code]).toEqual([path, 401, 'operator_required']);
    }
    expect(allowed).toEqual(['GET /metrics']);
    expect((await overTcp(withKey(), '/metrics')).status).toBe(200);
  });

  it('limits wrong keys for metrics, and still accepts the right one', async () => {
    fixture.clock.now += 3_600_000;
    const statuses: number[] = [];
    for (let i = 0; i < 11; i += 1) statuses.push((await overTcp(withKey('B'.repeat(43)), '/metrics')).status);
    expect(statuses).toEqual([...new Array(10).fill(401), 429]);
    expect((await overTcp(withKey(fixture.metricsKey), '/metrics')).status).toBe(200);
  });

  it('answers probes under any host, because a supervisor names an address', async () => {
    for (const path of ['/livez', '/readyz']) {
      const answer = await overTcp({ host: '10.1.2.3:8444' }, path);
      expect([answer.status, answer.text]).toEqual([200, 'ok\n']);
    }
  });

  it('does not say without a key which paths exist', async () => {
    fixture.clock.now += 3_600_000;
    expect((await overTcp({}, '/v1/nothing')).status).toBe(401);
    expect((await overTcp(withKey(), '/v1/nothing')).status).toBe(404);
  });

  it('limits wrong keys per address, and still accepts the right one', async () => {
    fixture.clock.now += 3_600_000;
    const statuses: number[] = [];
    for (let i = 0; i < 11; i += 1) statuses.push((await overTcp(withKey('B'.repeat(43)))).status);
    expect(statuses).toEqual([...new Array(10).fill(401), 429]);
    expect((await overTcp(withKey('C'.repeat(43)))).headers['retry-after']).toBe('6');
    expect((await overTcp({})).status).toBe(401);
    expect((await overTcp(withKey())).status).toBe(200);
    fixture.clock.now += 6_000;
    expect((await overTcp(withKey('B'.repeat(43)))).status).toBe(401);
    expect((await overTcp(withKey('B'.repeat(43)))).status).toBe(429);
  });

  it.each(['localhost', 'LOCALHOST:9', '127.0.0.1', '127.0.0.1:8444', '[::1]', '[::1]:8444'])(
    'answers to the host %s',
    async (host) => {
      expect((await overTcp({ ...withKey(), host })).status).toBe(200);
    },
  );

  it.each(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:8444', 'localhost:evil', '[::2]'])(
    'does not answer to the host "%s", key or no key',
    async (host) => {
      for (const path of ['/v1/tokens', '/v1/health', '/nothing']) {
        const answer = await overTcp({ ...withKey(), host }, path);
        expect(answer.status).toBe(400);
        expect(answer.text).not.toContain('evil');
      }
    },
  );

  it.each(['GET /v1/health HTTP/1.0\r\n\r\n', 'GET /v1/health HTTP/1.1\r\nHost:\r\n\r\n'])(
    'does not answer to a request that names no host: %j',
    async (head) => {
      const socket = tlsConnect({ host: '127.0.0.1', port: fixture.console.port, ca: fixture.tls.cert });
      socket.end(head);
      let text = '';
      for await (const chunk of socket) text += chunk;
      expect(text).toMatch(/^HTTP\/1\.1 400 /);
    },
  );

  it('answers to the public names it was given', async () => {
    const socketPath = join(fixture.dir, 'public.sock');
    const publicHosts = ['Fleet.example', '2001:db8::1'];
    const open = await createConsole({ ...fixture.options, socketPath, publicHosts });
    const statusFor = async (host: string) =>
      (
        await send(
          { ...fixture, console: open },
          { listener: 'tcp', path: '/v1/tokens', headers: { ...withKey(), host } },
        )
      ).status;
    expect(await statusFor('fleet.example:8444')).toBe(200);
    expect(await statusFor('[2001:db8::1]:8444')).toBe(200);
    expect(await statusFor('other.example')).toBe(400);
    await open.close();
  });

  it('speaks TLS 1.2 or newer, and takes a new certificate without a restart', async () => {
    const other = await openTestConsole();
    const next = await makeCertificate('next');
    other.console.replaceTls(next);
    const handshake = (options: object) =>
      new Promise<string>((resolve) => {
        const socket = tlsConnect({ host: '127.0.0.1', port: other.console.port, ca: next.cert, ...options });
        socket.once('secureConnect', () => {
          resolve(socket.getPeerCertificate().subject.CN as string);
          socket.destroy();
        });
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(`refused: ${error.code}`));
      });
    expect(await handshake({})).toBe('next');
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    expect(await handshake(old)).toMatch(/^refused/);
    await other.close();
  });

  it('never logged the key or a bootstrap token', () => {
    expect(logged.join('')).toContain('operator key refused');
    expect(logged.join('')).not.toContain(fixture.operatorKey);
    expect(logged.join('')).not.toContain(fixture.metricsKey);
    expect(logged.join('')).not.toContain(minted.split('.')[2]);
  });
});

describeWithClients('curl', ['curl'], () => {
  it('works with both listeners', async () => {
    const curl = (...args: string[]) => outputOf('curl', ['-sS', '--max-time', '10', ...args]);
    const viaSocket = await curl('--unix-socket', fixture.options.socketPath, 'http://localhost/v1/health');
    expect(JSON.parse(viaSocket)).toMatchObject({ status: 'ok' });
    const ca = join(fixture.dir, 'console.pem');
    writeFileSync(ca, fixture.tls.cert);
    const viaTcp = await curl(
      '--cacert',
      ca,
      '-H',
      `Authorization: Bearer ${fixture.operatorKey}`,
      `${fixture.console.url}/v1/tokens`,
    );
    expect(JSON.parse(viaTcp)).toEqual(expect.any(Array));
  });
});

describe('a route that does not declare its access', () => {
  it('stops the server from starting', async () => {
    const { createApplication } = await import('./application.ts');
    const { AccessControl } = await import('./access.ts');
    const { IdempotentActs } = await import('./idempotency.ts');
    const { now, log, version, operatorKeyFile, metricsKeyFile } = fixture.options;
    const access = new AccessControl({
      key: await openBearerKey('operator', operatorKeyFile),
      metricsKey: await openBearerKey('metrics', metricsKeyFile),
      registry: fixture.registry,
      hosts: [],
      now,
      log,
      ...createRequestLimits(NO_REQUEST_LIMITS),
    });
    const acts = new IdempotentActs({ registry: fixture.registry, log, now });
    const app = await createApplication({ access, acts, version, now, log, ...createRequestLimits(NO_REQUEST_LIMITS) });
    const route = { method: 'GET', url: '/undeclared', handler: () => 'secret' } as const satisfies object;
    expect(() => app.route(route)).toThrow('expected route GET /undeclared to declare its access');
    await app.close();
  });
});
