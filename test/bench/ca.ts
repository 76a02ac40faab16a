/**
 * The CA: how long a large CRL takes and blocks the event loop, how many OCSP responses
 * the server sends in a second, and whether sessions are dropped while the issuing CA is replaced under load.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { openConsoleClient } from '../../console/client.ts';
import { type Authority, openAuthority } from '../../enroll/index.ts';
import { openRegistry } from '../../registry/open.ts';
import { TEST_LIFETIMES } from '../fixtures/enroll/test-lifetimes.ts';
import type { Bench } from './bench.ts';
import type { Result } from './results.ts';

const LIST_WITHIN_MS = 1_000;
const LIST_ROUNDS = 5;
const OCSP_SECONDS = 2;

export async function ca(bench: Bench): Promise<readonly Result[]> {
  return [...(await thirdParties(bench.sizes.listed)), ...(await rotationUnderLoad(bench))];
}

/** In this process, on a registry of its own: nothing else is measured with it. */
async function thirdParties(listed: number): Promise<readonly Result[]> {
  const data = mkdtempSync(join(tmpdir(), 'rollcall-bench-'));
  const file = join(data, 'registry.db');
  const made: number[] = [];
  // The time to make a CRL is in its own log line, because two CRLs have a pause between them.
  const log = pino({ level: 'info' }, { write: (line) => noteList(line, made) });
  try {
    await (await openRegistry({ file, now: Date.now, log })).close();
    const serial = fillRevoked(file, listed);
    const registry = await openRegistry({ file, now: Date.now, log });
    const authority = await openAuthority({
      directory: join(data, 'ca'),
      trustDomain: 'bench.internal',
      hosts: ['localhost'],
      lifetimes: TEST_LIFETIMES,
      registry,
      now: Date.now,
      log,
    });
    const list = await listing(authority, listed, made);
    const ocsp = await answering(authority, data, serial);
    await authority.close();
    await registry.close();
    return [...list, ...ocsp];
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

async function listing(authority: Authority, listed: number, made: readonly number[]): Promise<readonly Result[]> {
  const delays: number[] = [];
  for (let round = 0; round <= LIST_ROUNDS; round += 1) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await authority.status.refresh(); // after the pause that follows a CRL
    delay.disable();
    delays.push(delay.max / 1e6);
  }
  const bytes = (await authority.status.crl()).length;
  const took = made.slice(-LIST_ROUNDS); // the first one compiles what the others run
  const row = `revocation list of ${listed.toLocaleString('en')} entries`;
  return [
    {
      ...plain(`${row}: made in`, 'ms', took),
      goals: [{ text: `under ${LIST_WITHIN_MS} ms`, reached: Math.max(...took) < LIST_WITHIN_MS }],
      remarks: [`${(bytes / 1e6).toFixed(1)} MB of DER, in slices on the main thread, signed on another`],
    },
    plain(`${row}: longest the event loop was kept`, 'ms', delays.slice(-LIST_ROUNDS)),
  ];
}

async function answering(authority: Authority, data: string, serial: string): Promise<readonly Result[]> {
  const request = ocspRequest(authority, data, serial);
  await authority.status.ocsp(request);
  let answers = 0;
  const cpu = process.cpuUsage();
  const until = performance.now() + OCSP_SECONDS * 1000;
  while (performance.now() < until) {
    const answer = await authority.status.ocsp(request);
    if (answer.length < 300) throw new Error('expected a signed answer');
    answers += 1;
  }
  const { user, system } = process.cpuUsage(cpu);
  return [
    plain('OCSP answers', 'per second', [answers / OCSP_SECONDS]),
    plain('OCSP answer', 'µs CPU', [(user + system) / answers]),
  ];
}

function noteList(line: string, made: number[]): void {
  const { msg, ms, entries } = JSON.parse(line) as {
    readonly msg: string;
    readonly ms?: number;
    readonly entries?: number;
  };
  if (msg === 'CRL issued' && ms !== undefined && entries !== undefined) made.push(ms);
}

/** As openssl writes it, with a nonce. */
function ocspRequest(authority: Authority, data: string, serial: string): Buffer {
  const issuing = join(data, 'ca', 'issuing.pem');
  const args = ['ocsp', '-issuer', issuing, '-serial', `0x${serial}`, '-reqout', '-'];
  if (authority.cas.issuing.length !== 1) throw new Error('expected one issuing CA');
  return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Sessions that publish all the time, while the CA of their certificates is replaced and retired. */
async function rotationUnderLoad({ sizes, servers, load }: Bench): Promise<readonly Result[]> {
  const rollcall = await servers.startRollcall();
  const as = rollcall.name;
  const operator = openConsoleClient({ socketPath: rollcall.socketPath });
  await load.order({ kind: 'open', as, port: rollcall.mqttPort, count: sizes.publishers });
  const sessions = async () =>
    new Map((await operator.listSessions()).sessions.map(({ clientId, connectedAt }) => [clientId, connectedAt]));
  const before = await sessions();
  const publishing = load.order({ kind: 'publish', as, topic: 'telemetry', count: sizes.messages * 10, inFlight: 1 });
  const started = performance.now();
  const [old] = (await operator.listCas()).filter(({ role, state }) => role === 'issuing' && state === 'active');
  const { id } = await operator.prepareCa({});
  await operator.activateCa({ id });
  await operator.taintCa({ id: old?.id as string, withinSeconds: 3600 });
  const took = performance.now() - started;
  await publishing; // every message was acknowledged, or this throws
  const after = await sessions();
  const dropped = [...before].filter(([clientId, connectedAt]) => after.get(clientId) !== connectedAt).length;
  await load.order({ kind: 'close', as });
  await operator.close();
  await rollcall.stop();
  const row = `issuing CA replaced under ${before.size} sessions that publish`;
  return [
    { ...plain(`${row}: sessions dropped`, 'count', [dropped]), goals: [{ text: 'none', reached: dropped === 0 }] },
    plain(`${row}: prepare, activate and taint took`, 'ms', [took]),
  ];
}

function plain(row: string, unit: string, samples: readonly number[]): Result {
  const sorted = [...samples].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] as number;
  const rollcall = { median, low: sorted[0] as number, high: sorted.at(-1) as number };
  return { row, unit, figures: { rollcall }, ratios: {}, goals: [], remarks: [] };
}

/** Writes revoked certificates of the first CA into the file of a closed registry. Returns one serial. */
function fillRevoked(file: string, count: number): string {
  const database = new Database(file, { fileMustExist: true });
  database.pragma('synchronous = OFF');
  const now = Date.now();
  database
    .prepare(
      `INSERT INTO devices (id, group_name, labels, enrolled_at, enrolled_by, revoked_at, revocation_reason)
       VALUES ('gone', 'default', '{}', ?, 'operator/local', ?, 'keyCompromise')`,
    )
    .run(now, now);
  const certificate = database.prepare(
    `INSERT INTO certificates (serial, device_id, public_key_sha256, not_before, not_after, issued_at, revoked_at,
       revocation_reason, der) VALUES (?, 'gone', ?, ?, ?, ?, ?, 'keyCompromise', ?)`,
  );
  const der = randomBytes(560);
  let serial = '';
  database.transaction(() => {
    for (let n = 0; n < count; n += 1) {
      serial = `40${randomBytes(16).toString('hex')}`;
      certificate.run(serial, randomBytes(32).toString('hex'), now, now + 90 * 86_400_000, now, now - n * 1000, der);
    }
  })();
  database.close();
  return serial;
}
