/** An enroll server for tests: a real authority and registry in a directory of their own, a clock that can be moved, HTTPS requests. */

import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { type Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type Logger, pino } from 'pino';
import { onTestFinished } from 'vitest';
import { formatBootstrapToken } from '../contract/bootstrap-token.ts';
import { EST_MEDIA_TYPES } from '../contract/est.ts';
import { DEFAULT_GROUP } from '../contract/identity.ts';
import { openRegistry } from '../registry/open.ts';
import type { MintOrder, Registry } from '../registry/registry.ts';
import { createThrottle, UNTHROTTLED } from '../throttle/throttle.ts';
import { type Authority, type AuthorityOptions, openAuthority } from './authority.ts';
import { UNLIMITED_ENROLL } from './limits.ts';
import { pem } from './pem.ts';
import { createEnrollServer, type EnrollServer, type EnrollServerOptions } from './server.ts';
import { writeTestCsr } from './test-csr.ts';
import { memoryOfIssuers } from './test-issuers.ts';
import { TEST_LIFETIMES } from './test-lifetimes.ts';

export interface TestLog {
  readonly log: Logger;
  /** Everything that was logged, one JSON document a line. */
  text(): string;
  lines(): readonly Record<string, unknown>[];
}

export function collectLog(): TestLog {
  const chunks: string[] = [];
  const sink = new Writable({
    write: (chunk, _encoding, done) => {
      chunks.push(String(chunk));
      done();
    },
  });
  const log = pino({ level: 'trace' }, sink);
  const text = () => chunks.join('');
  const lines = () =>
    text()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { log, text, lines };
}

export function testDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'enroll-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** An authority without a registry; what it records is in `recorded`. */
export async function openTestAuthority(changes: Partial<AuthorityOptions> = {}): Promise<{
  readonly authority: Authority;
  readonly options: AuthorityOptions;
  readonly recorded: { readonly name: string; readonly serial: string }[];
}> {
  const recorded: { name: string; serial: string }[] = [];
  let crlNumber = 0;
  const options: AuthorityOptions = {
    directory: join(testDirectory(), 'ca'),
    trustDomain: 'fleet.example',
    hosts: ['localhost', '127.0.0.1', '::1'],
    lifetimes: TEST_LIFETIMES,
    registry: {
      recordServerCertificate: async (name, { serial }) => {
        recorded.push({ name, serial });
      },
      ...memoryOfIssuers(),
      recordAct: async () => 1,
      nextCrlNumber: async () => {
        crlNumber += 1;
        return crlNumber;
      },
    },
    now: Date.now,
    log: pino({ level: 'silent' }),
    ...changes,
  };
  const authority = await openAuthority(options);
  onTestFinished(() => authority.close());
  return { authority, options, recorded };
}

export interface TestEnrollment {
  readonly authority: Authority;
  readonly registry: Registry;
  readonly server: EnrollServer;
  readonly directory: string;
  readonly clock: { now: number };
  readonly logged: TestLog;
  /** The text of a bootstrap token: one use, one hour, any id, unless the order says otherwise. */
  mint(order?: Partial<MintOrder>): Promise<string>;
  ask(order: TestRequest): Promise<TestAnswer>;
  /** Enrolls a new key as this device, through the door. */
  enroll(deviceId: string, order?: Partial<MintOrder>): Promise<EnrolledDevice>;
}

export interface TestRequest {
  readonly path: string;
  readonly method?: string;
  /** User name and password of HTTP Basic. */
  readonly basic?: readonly [userName: string, password: string];
  readonly headers?: Readonly<Record<string, string>>;
  /** A CSR in DER, which goes out as base64; or a body as it is. */
  readonly body?: Buffer | string;
  /** Chain and key, PEM. */
  readonly client?: ClientCredentials;
  readonly agent?: Agent;
}

export interface ClientCredentials {
  readonly cert: string;
  readonly key: string;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  /** Of a problem document. */
  readonly code: string | undefined;
}

export interface EnrolledDevice extends ClientCredentials {
  readonly certificate: X509Certificate;
  readonly serial: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export async function openTestEnrollment(
  changes: Partial<EnrollServerOptions> & {
    readonly authorityChanges?: Partial<AuthorityOptions>;
    readonly startAt?: number;
  } = {},
): Promise<TestEnrollment> {
  const directory = testDirectory();
  const clock = { now: changes.startAt ?? Date.now() };
  const now = () => clock.now;
  const logged = collectLog();
  const { log } = logged;
  const registry = await openRegistry({ file: join(directory, 'registry.db'), now, log });
  const { authority } = await openTestAuthority({
    directory: join(directory, 'ca'),
    registry,
    now,
    log,
    ...changes.authorityChanges,
  });
  const server = await createEnrollServer({
    host: '127.0.0.1',
    port: 0,
    authority,
    registry,
    limits: UNLIMITED_ENROLL,
    throttle: createThrottle(UNTHROTTLED),
    now,
    log,
    ...changes,
  });
  onTestFinished(async () => {
    await server.close();
    await registry.close();
  });

  const mint: TestEnrollment['mint'] = async (order = {}) => {
    const { record, secret } = await registry.mintToken(
      { maxUses: 1, ttlSeconds: 3600, group: DEFAULT_GROUP, labels: {}, ...order },
      'operator/test',
    );
    return formatBootstrapToken({
      id: record.id,
      secret,
      rootSha256: authority.rootSha256,
      enrollUrl: `https://localhost:${server.port}`,
    });
  };
  const ask: TestEnrollment['ask'] = (order) => askServer(server.port, authority.rootPem, order);
  return {
    authority,
    registry,
    server,
    directory,
    clock,
    logged,
    mint,
    ask,
    enroll: async (deviceId, order) => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const answer = await ask({
        path: '/.well-known/est/simpleenroll',
        basic: [deviceId, await mint(order)],
        body: writeTestCsr({ privateKey, publicKey }),
      });
      return enrolledDevice(answer, privateKey, publicKey, authority);
    },
  };
}

/** The leaf of a certs-only answer of ours, which holds nothing else: its certificate is where our own writer puts it. */
export function certificateOf(answer: TestAnswer): X509Certificate {
  if (answer.status !== 200) throw new Error(`expected a certificate, found ${answer.status} ${answer.body}`);
  const der = Buffer.from(answer.body, 'base64');
  const start = der.indexOf(Buffer.from([0x30, 0x82]), 40);
  return new X509Certificate(der.subarray(start, start + 4 + der.readUInt16BE(start + 2)));
}

export function enrolledDevice(
  answer: TestAnswer,
  privateKey: KeyObject,
  publicKey: KeyObject,
  authority: Authority,
): EnrolledDevice {
  const certificate = certificateOf(answer);
  return {
    certificate,
    serial: certificate.serialNumber.toLowerCase(),
    privateKey,
    publicKey,
    cert: pem(certificate.raw) + authority.chainPem,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

function askServer(port: number, ca: string, order: TestRequest): Promise<TestAnswer> {
  const { basic, body, client } = order;
  const headers: Record<string, string> = {};
  if (body !== undefined) headers['content-type'] = EST_MEDIA_TYPES.request;
  if (basic !== undefined) headers.authorization = `Basic ${Buffer.from(basic.join(':')).toString('base64')}`;
  Object.assign(headers, order.headers);
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        path: order.path,
        method: order.method ?? (body === undefined ? 'GET' : 'POST'),
        headers,
        ca,
        servername: 'localhost',
        agent: order.agent ?? false,
        ...client,
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('latin1');
          const isProblem = answer.headers['content-type']?.startsWith('application/problem+json');
          const code = isProblem && text !== '' ? (JSON.parse(text) as { code: string }).code : undefined;
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text, code });
        });
      },
    );
    request.on('error', reject);
    request.end(Buffer.isBuffer(body) ? body.toString('base64') : body);
  });
}
