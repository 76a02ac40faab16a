/** A console for tests: real listeners, real registry and telemetry in a directory of their own, and the few lines of fleet it needs. */

import 'reflect-metadata'; // @peculiar/x509 needs it and does not say so
import { createHash, KeyObject, webcrypto } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { type Logger, pino } from 'pino';
import type { DeviceId } from '../contract/identity.ts';
import { Problem } from '../contract/problem.ts';
import { openRegistry } from '../registry/open.ts';
import type { Registry } from '../registry/registry.ts';
import { openTelemetry } from '../telemetry/open.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { createThrottle, UNTHROTTLED } from '../throttle/throttle.ts';
import { type ConsoleClient, openConsoleClient } from './client.ts';
import { type Console, type ConsoleOptions, type ConsoleTls, createConsole } from './console.ts';
import type { Fleet, LiveSession } from './fleet.ts';

export const START = Date.parse('2026-11-22T12:00:00Z');

export interface Testbed {
  readonly dir: string;
  readonly options: ConsoleOptions;
  readonly console: Console;
  readonly client: ConsoleClient;
  readonly registry: Registry;
  readonly telemetry: Telemetry;
  readonly followers: FollowerCount;
  readonly sessions: LiveSession[];
  readonly operatorKey: string;
  readonly tls: ConsoleTls;
  readonly clock: { now: number };
  /** Enrolls a device through the registry, as the enroll server would. */
  enroll(id: string): Promise<void>;
  /** Stores a message, as the broker would. */
  say(device: string, stream: string, payload: string | Uint8Array, receivedAt?: number): Promise<unknown>;
  close(): Promise<void>;
}

async function unknownSink(): Promise<never> {
  throw new Problem('sink_unknown');
}

export async function openTestbed(changes: { readonly log?: Logger } = {}): Promise<Testbed> {
  const dir = mkdtempSync(join(tmpdir(), 'console-'));
  const log = changes.log ?? pino({ level: 'silent' });
  const clock = { now: START };
  const now = () => clock.now;
  const registry = await openRegistry({ file: join(dir, 'registry.db'), now, log });
  const followers = new FollowerCount();
  const telemetry = followers.watch(await openTelemetry({ directory: join(dir, 'telemetry'), now, log }));
  const sessions: LiveSession[] = [];
  const tls = await makeCertificate('console');
  const options: ConsoleOptions = {
    socketPath: join(dir, 'console.sock'),
    host: '127.0.0.1',
    port: 0,
    tls,
    operatorKeyFile: join(dir, 'operator.key'),
    registry,
    telemetry,
    events: { list: async () => [], follow: () => () => {} },
    sinks: { list: () => [], replay: unknownSink, skip: unknownSink },
    fleet: fleetOf(registry, sessions),
    version: '1.2.3',
    now,
    log,
    throttle: createThrottle(UNTHROTTLED),
  };
  const console = await createConsole(options);
  return {
    dir,
    options,
    console,
    client: openConsoleClient({ socketPath: options.socketPath }),
    registry,
    telemetry,
    followers,
    sessions,
    operatorKey: readFileSync(options.operatorKeyFile, 'utf8').trim(),
    tls,
    clock,
    enroll: (id) => enroll(registry, id as DeviceId, clock.now),
    say: (device, stream, payload, receivedAt = START) =>
      telemetry.accept({
        device: device as DeviceId,
        stream,
        receivedAt,
        qos: 1,
        payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
      }),
    close: async () => {
      await console.close();
      await registry.close();
      await telemetry.close();
      rmSync(dir, { recursive: true });
    },
  };
}

function fleetOf(registry: Registry, sessions: readonly LiveSession[]): Fleet {
  const notHere = () => Promise.reject(new Problem('ca_unknown'));
  return {
    ca: {
      list: async () => [],
      prepare: notHere,
      activate: notHere,
      taint: notHere,
      retire: notHere,
      request: notHere,
      importChain: notHere,
      exportRoot: notHere,
      forgetRoot: notHere,
    },
    renewals: { pull: notHere, status: notHere },
    certificates: () => 'ok',
    clock: () => 'ok',
    keptSessions: () => 'ok',
    mintTokenText: ({ record, secret }) => `rc1.${record.id}.${secret}`,
    issueService: async ({ name, csrPem, actor }) => {
      if (!csrPem.includes('CERTIFICATE REQUEST')) throw new Problem('csr_malformed');
      const service = await registry.commitService(name, certificateNamed(name, START), actor);
      return { service, certificatePem: 'chain', caPem: 'root' };
    },
    trustBundlePem: () => '-----BEGIN CERTIFICATE-----\n',
    checkPolicy: ({ publish }) => {
      if (publish.includes('bad/#/filter')) throw new Problem('policy_invalid', { detail: 'expected # at the end' });
    },
    explain: async (identity, verb, topic) => ({ allowed: topic === 'a/b', rule: `${identity.kind} ${verb}` }),
    sessions: () => sessions,
    counters: () => ({ messages_accepted_total: 7, 'refused_total/reason=a "quoted"\\\n': 1, sessions: 2 }),
  };
}

async function enroll(registry: Registry, id: DeviceId, now: number): Promise<void> {
  const group = 'default' as never;
  const { record, secret } = await registry.mintToken(
    { maxUses: 1, ttlSeconds: 60, group, labels: { site: 'north' } },
    'operator/test',
  );
  const certificate = certificateNamed(id, now);
  const claim = { tokenId: record.id, secret, deviceId: id, publicKeySha256: certificate.publicKeySha256 };
  const { outcome } = await registry.commitEnrollment({ ...claim, certificate, address: '127.0.0.1' });
  if (outcome !== 'enrolled') throw new Error(`expected ${id} to be enrolled, found ${outcome}`);
}

function certificateNamed(name: string, now: number) {
  const digest = createHash('sha256').update(name).digest('hex');
  return {
    serial: `1${digest.slice(0, 31)}`,
    der: Buffer.from(name),
    publicKeySha256: digest,
    notBefore: now - 600_000,
    notAfter: now + 86_400_000,
  };
}

export function liveSession(id: string): LiveSession {
  return {
    identity: { kind: 'device', id: id as DeviceId },
    clientId: id,
    address: '127.0.0.1',
    serial: '1a',
    connectedAt: START,
    notAfter: START + 1000,
  };
}

/** A key and a certificate that it signed itself. */
export async function makeCertificate(name: string): Promise<ConsoleTls> {
  const keys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  const alternative = new x509.SubjectAlternativeNameExtension([
    { type: 'dns', value: 'localhost' },
    { type: 'ip', value: '127.0.0.1' },
  ]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    { name: `CN=${name}`, keys, signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' }, extensions: [alternative] },
    webcrypto as never,
  );
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString();
  return { key, cert: certificate.toString('pem') };
}
const EC = { name: 'ECDSA', namedCurve: 'P-256' };

/** Counts who follows, and tells when that changes. */
class FollowerCount extends EventEmitter<{ followed: []; left: [] }> {
  count = 0;

  watch(telemetry: Telemetry): Telemetry {
    return {
      ...telemetry,
      follow: (device, listener) => {
        const stop = telemetry.follow(device, listener);
        this.count += 1;
        this.emit('followed');
        return () => {
          stop();
          this.count -= 1;
          this.emit('left');
        };
      },
    };
  }
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

export interface RawRequest {
  readonly door?: 'unix' | 'tcp';
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Sends exactly what it is told to, unlike the client. */
export async function send(bed: Testbed, request: RawRequest): Promise<RawAnswer> {
  const response = await sendAndWaitForHead(bed, request);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {}
  return { status: response.statusCode as number, headers: response.headers, text, json };
}

export function sendAndWaitForHead(bed: Testbed, request: RawRequest): Promise<IncomingMessage> {
  const { door = 'unix', method = 'GET', path, headers = {}, body } = request;
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  const options = { method, path, agent: false, headers: { ...type, ...headers } } as const;
  return new Promise((resolve, reject) => {
    const outgoing =
      door === 'unix'
        ? httpRequest({ ...options, socketPath: bed.options.socketPath }, resolve)
        : httpsRequest(
            { ...options, host: '127.0.0.1', port: bed.console.port, servername: 'localhost', ca: bed.tls.cert },
            resolve,
          );
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}
