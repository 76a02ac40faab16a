import { X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeEach, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import {
  type EstAnswer,
  type EstScript,
  problem,
  type ScriptedEstServer,
  startScriptedEstServer,
} from '../test/fixtures/scripted-est-server.ts';
import { DeviceError } from './device-error.ts';
import { type EnrollmentOptions, enrollOnce, requestRenewal } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import { memoryIdentityStore } from './identity-store.ts';

const { describe, it } = testsWithClients('device-sdk/enrollment.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
const stranger = makeScriptedAuthority();
afterAll(() => {
  authority.dispose();
  stranger.dispose();
});

let dataDir: string;
const servers: ScriptedEstServer[] = [];
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'rollcall-enroll-'));
});
afterEach(async () => {
  rmSync(dataDir, { recursive: true, force: true });
  for (const server of servers.splice(0)) await server.close();
});

async function start(script?: EstScript): Promise<ScriptedEstServer> {
  const server = await startScriptedEstServer(authority, script);
  servers.push(server);
  return server;
}

const store = () => fileIdentityStore(dataDir);
const isEnroll = (request: { readonly path: string }) => request.path.endsWith('/simpleenroll');
const enrollRequests = (server: ScriptedEstServer) => server.requests.filter(isEnroll);
const answering = (answer: EstAnswer): EstScript => ({ answer: (r) => (isEnroll(r) ? answer : undefined) });

/** The error, after looking for the secret in everything that a logger could print of it. */
async function refusal(order: EnrollmentOptions, where = store()): Promise<DeviceError> {
  const error = await enrollOnce(where, order).then(
    () => expect.unreachable('it enrolled'),
    (thrown: unknown) => thrown as DeviceError,
  );
  expect(error).toBeInstanceOf(DeviceError);
  const printed = inspect(error, { depth: 10, showHidden: true }) + JSON.stringify(error);
  const secret = order.token?.split('.')[2];
  if (secret !== undefined) expect(printed).not.toContain(secret);
  const login = Buffer.from(`${order.deviceId ?? ''}:${order.token}`).toString('base64');
  expect(printed).not.toContain(login.slice(0, 40));
  return error;
}

describe('the secret stays at home', () => {
  it('when the root is not the one that the token pins', async () => {
    const server = await start();
    const error = await refusal({ token: server.token(stranger.rootSha256) });
    expect(error.code).toBe('server_untrusted');
    expect(server.requests.map(({ path, password }) => [path, password])).toEqual([
      ['/.well-known/est/cacerts', undefined],
    ]);
  });

  it('when a server shows the right root but holds a certificate of another', async () => {
    const server = await start({ identity: stranger.server });
    const error = await refusal({ token: server.token() });
    expect(error.code).toBe('server_untrusted');
    expect(enrollRequests(server)).toEqual([]);
    expect(server.connections).toBe(2);
  });

  it('when the certificate is for another host', async () => {
    const server = await start({ identity: authority.serverFor('DNS:elsewhere.example') });
    const error = await refusal({ token: server.token() });
    expect(error).toMatchObject({ code: 'server_untrusted', message: expect.stringContaining('ALTNAME') });
    expect(enrollRequests(server)).toEqual([]);
  });

  it('when a server that refuses it quotes it', async () => {
    const server = await start({
      answer: (r) =>
        isEnroll(r)
          ? {
              status: 401,
              headers: { 'content-type': 'application/problem+json', 'x-echo': r.password as string },
              body: JSON.stringify({ code: 'token_rejected', detail: r.password, title: r.password }),
            }
          : undefined,
    });
    expect((await refusal({ token: server.token(), deviceId: 'dev-7' })).code).toBe('token_rejected');
  });
});

describe('an enrollment', () => {
  it('sends the token as password and the device id as user, with a request of the right type', async () => {
    const server = await start();
    const token = server.token();
    const identity = await enrollOnce(store(), { token: ` ${token}\n`, deviceId: 'dev-7' });
    const [request] = enrollRequests(server);
    expect(request).toMatchObject({
      user: 'dev-7',
      password: token,
      contentType: 'application/pkcs10',
      method: 'POST',
    });
    expect(authority.describeRequest(request?.csr as Buffer)).toContain('dev-7');
    expect(identity).toMatchObject({ deviceId: 'dev-7', enrollUrl: server.url, mqttUrl: 'mqtts://localhost:8883' });
  });

  it('learns the broker from the answer, and the caller may know better', async () => {
    const server = await start({ mqttUrl: () => 'mqtts://broker.example:18883' });
    const order = { token: server.token() };
    expect((await enrollOnce(memoryIdentityStore(), order)).mqttUrl).toBe('mqtts://broker.example:18883');
    const own = { ...order, mqttUrl: 'mqtts://10.0.0.1' };
    const kept = store();
    expect((await enrollOnce(kept, own)).mqttUrl).toBe('mqtts://10.0.0.1:8883');
    // For as long as the caller says so.
    expect((await enrollOnce(kept, order)).mqttUrl).toBe('mqtts://broker.example:18883');
  });

  it('works against a server of another make when root and address are given', async () => {
    const server = await start();
    const order = { token: 'a password', enrollUrl: server.url, rootSha256: authority.rootSha256.toUpperCase() };
    await enrollOnce(memoryIdentityStore(), order);
    expect(enrollRequests(server)[0]?.password).toBe('a password');
  });

  it('can be given up', async () => {
    const giveUp = new AbortController();
    const server = await start({
      answer: () => {
        giveUp.abort();
        return undefined;
      },
    });
    expect((await refusal({ token: server.token(), signal: giveUp.signal })).code).toBe('closed');
    expect(enrollRequests(server)).toEqual([]);
  });
});

describe('an enrollment whose answer got lost', () => {
  it('is asked again with the same request, and ends with the same certificate', async () => {
    let drops = 1;
    const server = await start({ afterIssue: (r) => (isEnroll(r) && drops-- > 0 ? 'drop' : undefined) });
    const order = { token: server.token() };
    expect((await refusal(order)).code).toBe('server_unreachable');
    expect(existsSync(join(dataDir, 'pending.json'))).toBe(true);
    const identity = await enrollOnce(store(), order);
    const [first, second] = enrollRequests(server);
    expect(second?.csr.equals(first?.csr as Buffer)).toBe(true);
    expect(server.issuedIds).toEqual(['device-1']);
    expect(identity.deviceId).toBe('device-1');
    expect(readdirSync(dataDir).sort()).toEqual(['ca.pem', 'cert.pem', 'device.json', 'key.pem']);
  });

  it('takes a fresh key when the server says that it saw this one elsewhere', async () => {
    let refusals = 1;
    const server = await start({
      answer: (r) => (isEnroll(r) && refusals-- > 0 ? problem(503, 'unavailable') : undefined),
    });
    const order = { token: server.token() };
    await refusal(order);
    const reused = await start({
      answer: (r, sofar) => (isEnroll(r) && sofar < 2 ? problem(409, 'csr_key_reused') : undefined),
    });
    await enrollOnce(store(), { token: reused.token() });
    const [first, second] = enrollRequests(reused);
    expect(first?.csr.equals(enrollRequests(server)[0]?.csr as Buffer)).toBe(true);
    expect(authority.publicKeyOf(second?.csr as Buffer)).not.toBe(authority.publicKeyOf(first?.csr as Buffer));
  });

  it('does not insist when a fresh key is refused as well', async () => {
    const server = await start(answering(problem(409, 'csr_key_reused')));
    const order = { token: server.token() };
    expect((await refusal(order)).code).toBe('csr_key_reused');
    expect((await refusal(order)).code).toBe('csr_key_reused');
    expect(enrollRequests(server)).toHaveLength(3);
  });
});

describe('an answer that says no', () => {
  it.each([
    [problem(401, 'token_rejected'), 'token_rejected', 401],
    [problem(403, 'device_revoked'), 'device_revoked', 403],
    [problem(409, 'device_exists'), 'device_exists', 409],
    [problem(401, 'not a code of ours'), 'server_refused', 401],
    [{ status: 403, body: 'no' }, 'server_refused', 403],
    [{ status: 404 }, 'server_refused', 404],
    [{ status: 302, headers: { location: 'https://elsewhere.example' } }, 'answer_invalid', 302],
    [{ status: 500 }, 'internal', 500],
    [{ status: 503, headers: { 'content-type': 'application/problem+json' }, body: '{' }, 'unavailable', 503],
  ] as const)('%j', async (answer, code, status) => {
    const server = await start(answering(answer as EstAnswer));
    expect(await refusal({ token: server.token() })).toMatchObject({ code, status });
    expect(enrollRequests(server)).toHaveLength(1);
  });

  it('may say when to ask again', async () => {
    const server = await start(answering(problem(429, 'rate_limited', { 'retry-after': '17' })));
    expect(await refusal({ token: server.token() })).toMatchObject({ code: 'rate_limited', retryAfter: 17 });
    const later = await start(answering({ status: 202, headers: { 'retry-after': '99999999' } }));
    expect(await refusal({ token: later.token() })).toMatchObject({ code: 'unavailable', retryAfter: 86_400 });
    const vague = await start(answering({ status: 429, headers: { 'retry-after': 'Fri, 07 Nov 2036 23:59:59 GMT' } }));
    expect(await refusal({ token: vague.token() })).toMatchObject({ code: 'rate_limited', retryAfter: undefined });
  });
});

describe('an answer that is not believed', () => {
  const issuedBy = (who: typeof authority, id: string): EstScript => ({
    answer: (r) =>
      isEnroll(r) ? { status: 200, body: who.certsOnly(who.issue(r.csr, id)).toString('base64') } : undefined,
  });

  it.each<[string, EstScript, string]>([
    ['no base64', answering({ status: 200, body: '<html>' }), 'base64'],
    ['an empty body', answering({ status: 200, body: '' }), 'base64'],
    ['no PKCS#7', answering({ status: 200, body: Buffer.from('0000').toString('base64') }), 'PKCS#7'],
    ['a body without end', answering({ status: 200, body: 'A'.repeat(70_000) }), 'at most 65536 bytes'],
    [
      'a certificate of another key',
      answering({ status: 200, body: authority.certsOnly(authority.server.certificatePem).toString('base64') }),
      'key of the request',
    ],
    ['a certificate of another authority', issuedBy(stranger, 'dev-7'), 'chain to a root that this device trusts'],
    ['another name than was asked for', issuedBy(authority, 'dev-8'), 'another device'],
    ['a name that no device can have', issuedBy(authority, 'dev 7'), 'device id'],
    ['an address that is no broker', { mqttUrl: () => 'http://localhost' }, 'announced MQTT URL'],
  ])('%s', async (_what, script, words) => {
    const server = await start(script);
    const error = await refusal({ token: server.token(), deviceId: 'dev-7' });
    expect(error.code).toBe('answer_invalid');
    expect(error.message).toContain(words);
    expect(existsSync(join(dataDir, 'cert.pem'))).toBe(false);
  });
});

describe('an order that cannot be carried out', () => {
  const token = 'rc1.0123456789abcdef.BwcHBwcHBwcHBwcHBwcHBwcHBwc.AAAA.AAAA';
  it.each<[EnrollmentOptions, string]>([
    [{}, 'token_required'],
    [{ token: '  ' }, 'token_required'],
    [{ token }, 'token_malformed'],
    [{ token, enrollUrl: 'https://localhost:1' }, 'token_malformed'],
    [{ token, enrollUrl: 'http://localhost:1', rootSha256: 'a'.repeat(64) }, 'request_invalid'],
    [{ token, enrollUrl: 'https://localhost:1', rootSha256: 'abc' }, 'request_invalid'],
    [{ token, enrollUrl: 'https://localhost:1', rootSha256: 'a'.repeat(64), deviceId: 'a/b' }, 'device_id_invalid'],
    [{ token, enrollUrl: 'https://localhost:1', rootSha256: 'a'.repeat(64), mqttUrl: 'mqtt://x' }, 'request_invalid'],
  ])('%j', async (order, code) => {
    expect((await refusal(order)).code).toBe(code);
  });

  it('names a server that does not answer', async () => {
    const server = await start();
    const token = server.token();
    await server.close();
    expect(await refusal({ token })).toMatchObject({ code: 'server_unreachable' });
  });
});

describe('an identity on disk', () => {
  async function enrolled() {
    const server = await start();
    const identity = await enrollOnce(store(), { token: server.token(), deviceId: 'dev-7' });
    return { server, identity };
  }

  it('is refused when others can read the key', async () => {
    await enrolled();
    chmodSync(join(dataDir, 'key.pem'), 0o640);
    const error = await refusal({});
    expect(error.code).toBe('private_key_exposed');
    expect(error.message).toContain('expected mode 600, found 640');
  });

  it('is refused when others can write its directory', async () => {
    await enrolled();
    chmodSync(dataDir, 0o770);
    expect((await refusal({})).code).toBe('identity_unusable');
  });

  it('is refused when it is of another device than expected', async () => {
    await enrolled();
    const error = await refusal({ deviceId: 'dev-8' });
    expect(error.message).toContain('expected device dev-8, found dev-7');
  });

  it.each([
    ['device.json', '{'],
    ['device.json', '{"deviceId":"../x"}'],
    ['cert.pem', 'not a certificate'],
    ['key.pem', 'not a key'],
    ['ca.pem', ''],
  ])('is refused when %s holds %j, without quoting it', async (name, text) => {
    await enrolled();
    writeFileSync(join(dataDir, name), text);
    expect((await refusal({})).code).toBe('identity_unusable');
  });

  it('is refused when key and certificate are not a pair', async () => {
    const { server } = await enrolled();
    const other = await enrollOnce(memoryIdentityStore(), { token: server.token() });
    writeFileSync(join(dataDir, 'key.pem'), other.keyPem);
    expect((await refusal({})).message).toContain('another key');
  });
});

describe('a renewal', () => {
  it('is authenticated by the current certificate and has a new key', async () => {
    const server = await start();
    const before = await enrollOnce(store(), { token: server.token(), deviceId: 'dev-7' });
    const after = await requestRenewal(store(), before);
    expect(server.requests.at(-1)).toMatchObject({ peer: 'dev-7', path: '/.well-known/est/simplereenroll' });
    expect(server.requests.at(-1)?.password).toBeUndefined();
    const keyOf = (pem: string) => new X509Certificate(pem).publicKey;
    expect(keyOf(after.certificatePem).equals(keyOf(before.certificatePem))).toBe(false);
    expect(await store().load(), 'until it has worked, the old one stays').toEqual(before);
    await store().commit(after);
    expect(await store().load()).toEqual(after);
    expect(readFileSync(join(dataDir, 'key.pem'), 'utf8')).toBe(after.keyPem);
  });

  it('that was interrupted goes on with the same key', async () => {
    let drops = 1;
    const isRenewal = (r: { readonly path: string }) => r.path.endsWith('/simplereenroll');
    const server = await start({ afterIssue: (r) => (isRenewal(r) && drops-- > 0 ? 'drop' : undefined) });
    const before = await enrollOnce(store(), { token: server.token() });
    await expect(requestRenewal(store(), before)).rejects.toMatchObject({ code: 'server_unreachable' });
    expect(await store().load()).toEqual(before);
    await requestRenewal(store(), before);
    const [first, second] = server.requests.filter(isRenewal);
    expect(second?.csr.equals(first?.csr as Buffer)).toBe(true);
  });

  it('of a revoked device is refused once and for all', async () => {
    const server = await start({
      answer: (r) => (r.path.endsWith('/simplereenroll') ? problem(403, 'device_revoked') : undefined),
    });
    const identity = await enrollOnce(store(), { token: server.token() });
    await expect(requestRenewal(store(), identity)).rejects.toMatchObject({ code: 'device_revoked', status: 403 });
    expect(await store().load()).toEqual(identity);
  });
});
