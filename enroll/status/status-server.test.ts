import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createRequestLimits } from '../../limits/index.ts';
import { NO_REQUEST_LIMITS } from '../../limits/request-limits.ts';
import { openStoredAuthority } from '../../test/fixtures/enroll/stored-authority.ts';
import { testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import type { Authority } from '../ca/authority.ts';
import { encodeDer, encoded, integer, octets, oid, sequence, tagged } from '../x509/der-writer.ts';
import { OCSP_REQUEST_MAX, readOcspRequest } from './ocsp-request.ts';
import { createStatusServer } from './status-server.ts';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

interface Published {
  readonly authority: Authority;
  readonly port: number;
  readonly clock: { now: number };
  readonly recorded: () => Promise<number>;
  ask(path: string, options?: { readonly method?: string; readonly body?: Buffer }): Promise<Answer>;
}

async function published(limit = 0): Promise<Published> {
  const { authority, registry, clock, close } = await openStoredAuthority(testDirectory());
  const limits = { requestsPerSecond: limit, requestsPerSecondPerAddress: limit };
  const server = await createStatusServer({
    host: '127.0.0.1',
    port: 0,
    status: authority.status,
    ...limits,
    requestLimits: createRequestLimits(NO_REQUEST_LIMITS),
    now: () => clock.now,
    log: pino({ level: 'silent' }),
  });
  onTestFinished(async () => {
    await server.close();
    await close();
  });
  return {
    authority,
    port: server.port,
    clock,
    recorded: () => registry.countIssued(authority.cas.active.id),
    ask: (path, { method, body } = {}) =>
      new Promise((resolve, reject) => {
        const options = {
          host: '127.0.0.1',
          port: server.port,
          path,
          method: method ?? (body ? 'POST' : 'GET'),
          agent: false,
        };
        const sent = request(options, (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('end', () =>
            resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks) }),
          );
        });
        sent.on('error', reject);
        sent.end(body);
      }),
  };
}

const SHA1 = sequence(oid('1.3.14.3.2.26'), encoded(Buffer.of(5, 0)));
const single = (serial: Buffer, nameHash = Buffer.alloc(20), keyHash = Buffer.alloc(20)) =>
  sequence(sequence(SHA1, octets(nameHash), octets(keyHash), integer(serial)));
const requestFor = (...singles: readonly ReturnType<typeof single>[]) =>
  encodeDer(sequence(sequence(sequence(...singles))));
const MALFORMED = Buffer.from('30030a0101', 'hex');
const UNAUTHORIZED = Buffer.from('30030a0106', 'hex');

describe('the status server', () => {
  it.each([
    ['GET', '/', 404],
    ['GET', '/crl/', 404],
    ['GET', `/crl/${'0'.repeat(40)}.crl`, 404],
    ['GET', `/ca/${'0'.repeat(40)}.cer`, 404],
    ['GET', '/crl/../ca/root.key', 404],
    ['GET', '/crl/root.key', 404],
    ['GET', '/v1/time', 404],
    ['GET', '/.well-known/est/cacerts', 404],
    ['GET', '/ocsp', 404],
    ['GET', '/ocsp/', 400],
    ['GET', '/ocsp/%', 400],
    ['GET', '/ocsp/!!!!', 400],
    ['POST', '/crl/issuing.crl', 405],
    ['PUT', '/ocsp', 405],
    ['DELETE', '/crl/all.pem', 405],
  ])('answers %s %s with %i, and tells the time', async (method, path, status) => {
    const { ask, clock } = await published();
    const answer = await ask(path, { method });
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(JSON.parse(answer.body.toString())).toMatchObject({ time: new Date(clock.now).toISOString() });
  });

  it('serves CRLs and CA certificates, and nothing secret', async () => {
    const { ask, authority } = await published();
    const { root, active } = authority.cas;
    expect((await ask(`/ca/${root.id}.cer`)).body.equals(root.der)).toBe(true);
    expect((await ask(`/ca/${active.id}.cer`)).body.equals(active.der)).toBe(true);
    expect((await ask(`/crl/${active.id}.crl`)).body.equals((await ask('/crl/issuing.crl')).body)).toBe(true);
    expect((await ask(`/crl/${root.id}.crl`)).headers['content-type']).toBe('application/pkix-crl');
    const all = (await ask('/crl/all.pem')).body.toString();
    expect(all.match(/BEGIN X509 CRL/g)).toHaveLength(2);
    expect(all).not.toContain('PRIVATE');
    expect((await ask('/crl/all.pem', { method: 'HEAD' })).body).toHaveLength(0);
  });

  it('refuses a request that is too long before it is read', async () => {
    const { ask, port } = await published();
    expect((await ask('/ocsp', { body: Buffer.alloc(OCSP_REQUEST_MAX + 1) })).status).toBe(413);
    expect((await ask(`/ocsp/${'A'.repeat(20_000)}`)).status).toBe(400);
    // Declared and never sent: the declaration is enough.
    const socket = connect(port, '127.0.0.1');
    socket.write('POST /ocsp HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000000\r\n\r\n');
    const [head] = await new Promise<string[]>((resolve) =>
      socket.once('data', (data) => resolve(String(data).split('\r\n'))),
    );
    expect(head).toContain('413');
    socket.destroy();
  });

  it('limits the requests of an address', async () => {
    const { ask } = await published(2);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask('/crl/issuing.crl')));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(10);
    expect(Number(refused[0]?.headers['retry-after'])).toBeGreaterThan(0);
  });
});

describe('OCSP', () => {
  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['something else', Buffer.from('GET / HTTP/1.1')],
    ['half a request', requestFor(single(Buffer.of(1))).subarray(0, 30)],
    ['a request and a byte', Buffer.concat([requestFor(single(Buffer.of(1))), Buffer.of(0)])],
    ['a request for nobody', requestFor()],
    ['a request for too many', requestFor(...Array.from({ length: 17 }, () => single(Buffer.of(1))))],
    ['a serial of 40 bytes', requestFor(single(Buffer.alloc(40, 7)))],
    [
      'another hash',
      encodeDer(
        sequence(
          sequence(
            sequence(
              sequence(sequence(sequence(oid('1.2.3')), octets(Buffer.of(1)), octets(Buffer.of(1)), integer(1))),
            ),
          ),
        ),
      ),
    ],
    ['a length beyond the end', Buffer.from('3084ffffffff', 'hex')],
    [
      'deep nesting',
      Buffer.concat(Array.from({ length: 60 }, (_, n) => Buffer.of(0x30, 118 - 2 * n)).concat(Buffer.alloc(0))),
    ],
    ['an endless length', Buffer.from('30800000', 'hex')],
  ])('says malformedRequest to %s', async (_what, body) => {
    const { authority } = await published();
    expect(await authority.status.ocsp(body)).toEqual(MALFORMED);
  });

  it('says unauthorized of a CA that is not ours, without a signature', async () => {
    const { ask } = await published();
    const answer = await ask('/ocsp', { body: requestFor(single(Buffer.of(1))) });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/ocsp-response');
    expect(answer.body).toEqual(UNAUTHORIZED);
  });

  it('takes nonces of 1 to 128 bytes and gives no other back', () => {
    const withNonce = (bytes: number) => {
      const nonce = sequence(oid('1.3.6.1.5.5.7.48.1.2'), octets(encodeDer(octets(Buffer.alloc(bytes, 1)))));
      return encodeDer(sequence(sequence(sequence(single(Buffer.of(1))), tagged(2, sequence(nonce)))));
    };
    for (const bytes of [1, 32, 127])
      expect(readOcspRequest(withNonce(bytes))).toMatchObject({ nonce: expect.anything() });
    for (const bytes of [200, 2000]) expect(readOcspRequest(withNonce(bytes))).toMatch(/nonce of 1 to 128/);
  });

  it('signs with a certificate that is valid for a day and recorded before it is used, and renews it', async () => {
    const { authority, clock, recorded } = await published();
    const { createHash } = await import('node:crypto');
    const { active } = authority.cas;
    const sha1 = (bytes: Uint8Array) => createHash('sha1').update(bytes).digest();
    const asked = requestFor(single(Buffer.of(9), sha1(active.subject), sha1(active.publicKeySpki.subarray(-65))));
    const before = await recorded();
    await Promise.all([authority.status.ocsp(asked), authority.status.ocsp(asked)]);
    expect(await recorded()).toBe(before + 1);
    clock.now += 12 * 3_600_000;
    await authority.status.ocsp(asked);
    expect(await recorded()).toBe(before + 1);
    clock.now += 5 * 3_600_000;
    expect((await authority.status.ocsp(asked)).length).toBeGreaterThan(300);
    expect(await recorded()).toBe(before + 2);
  });
});

it('the status server disconnects a client that reads nothing of its response', async () => {
  const log = pino({ level: 'silent' });
  const body = Buffer.alloc(32 * 1_048_576);
  const server = await createStatusServer({
    host: '127.0.0.1',
    port: 0,
    status: {
      document: async () => ({ mediaType: 'application/pkix-crl', body, maxAge: 1 }),
      ocsp: async () => Buffer.alloc(0),
    },
    ...{ requestsPerSecond: 0, requestsPerSecondPerAddress: 0, timeoutMs: 50, now: Date.now, log },
    requestLimits: createRequestLimits(NO_REQUEST_LIMITS),
  });
  onTestFinished(() => server.close());
  const accepted = new Promise<Socket>((resolve) => {
    const hear = (message: unknown) => {
      unsubscribe('net.server.socket', hear);
      resolve((message as { readonly socket: Socket }).socket);
    };
    subscribe('net.server.socket', hear);
  });
  const client = connect(server.port, '127.0.0.1').pause();
  onTestFinished(() => {
    client.destroy();
  });
  client.write('GET /crl/issuing.crl HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(await accepted, 'close');
});

it('the file of all CRLs is built once for all its readers', async () => {
  const { authority } = await published();
  const first = await authority.status.document('/crl/all.pem');
  expect(String(first?.body)).toContain('BEGIN X509 CRL');
  expect((await authority.status.document('/crl/all.pem'))?.body).toBe(first?.body);
  await authority.status.refresh();
  expect((await authority.status.document('/crl/all.pem'))?.body).not.toEqual(first?.body);
});
