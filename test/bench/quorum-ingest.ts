/**
 * Telemetry of a node in this process on PostgreSQL with two standbys, one of which confirms each commit. Two nodes take turns of a second,
 * one with a single commit on its way at a time, so that other load of the machine affects both alike. Messages of 200 bytes of 10,000 devices.
 */

import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import { pino } from 'pino';
import { PostgresDatabase } from '../../storage/postgres/index.ts';
import { SLOTS } from '../../telemetry/postgres/lane-ends.ts';
import { type LaneTelemetry, openPostgresTelemetry } from '../../telemetry/postgres/open.ts';
import type { AcceptCallbacks } from '../../telemetry/telemetry.ts';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';

export interface IngestOptions {
  /** Messages a second. */
  readonly rate: number;
  /** Seconds of each node. */
  readonly rounds: number;
  /** Whether messages have keys of the SDK's kind. */
  readonly hasKeys: boolean;
  /** Called before the journal is closed. */
  afterwards?(telemetry: LaneTelemetry, database: PostgresDatabase, stored: number): Promise<void>;
}

export interface IngestTurns {
  /** Commits on their way at a time, at most. */
  readonly inFlight: number;
  /** Milliseconds from when a message was due to its acknowledgement, of each second. */
  readonly p50: readonly number[];
  readonly p99: readonly number[];
  /** Messages a second with `WAITING` of them waiting, of each half second. */
  readonly most: readonly number[];
  readonly messagesPerCommit: number;
  /** Microseconds of the node for a message. */
  readonly cpu: number;
}

export const DEVICES = 10_000;
/** Messages that wait when as many are stored as can be. */
export const WAITING = 20_000;
const TICK_MS = 1;
const WARM_UP_MS = 2_000;

/** 200 bytes, most of them other ones in each message: figures, and an id. */
function payload(): Buffer {
  const figures = Array.from({ length: 6 }, () => (Math.random() * 100).toFixed(3));
  const text = `{"id":"${randomBytes(24).toString('base64url')}","figures":[${figures}],"unit":"celsius","state":"running"}`;
  return Buffer.from(text.padEnd(200, ' '));
}

const PAYLOADS = Array.from({ length: 1_000 }, payload);
export const devices = Array.from({ length: DEVICES }, (_, i) => `dev-${i}` as DeviceId);
let sent = 0;

type Submit = (callbacks: AcceptCallbacks) => void;

function submitterTo(telemetry: LaneTelemetry, hasKeys: boolean): Submit {
  return (callbacks) => {
    const device = devices[sent % DEVICES] as DeviceId;
    const number = Math.floor(sent / DEVICES);
    sent += 1;
    const message = {
      device,
      stream: 'climate',
      receivedAt: Date.now(),
      qos: 1,
      payload: PAYLOADS[sent % PAYLOADS.length] as Buffer,
    } as const;
    telemetry.submit(hasKeys ? { ...message, key: `${number}.bench` } : message, callbacks);
  };
}

/** Ms from the time at which each message was due to its acknowledgement, sorted. */
async function steady(submit: Submit, rate: number, forMs: number): Promise<Float64Array> {
  const total = Math.round((rate * forMs) / 1000);
  const latencies = new Float64Array(total);
  const done = Promise.withResolvers<void>();
  let [begun, ended] = [0, 0];
  const began = performance.now();
  const end = (due: number) => {
    latencies[ended] = performance.now() - due;
    ended += 1;
    if (ended === total) done.resolve();
  };
  while (begun < total) {
    const due = Math.min(total, Math.floor(((performance.now() - began) * rate) / 1000));
    for (; begun < due; begun += 1) {
      const at = began + (begun * 1000) / rate;
      submit({ stored: () => end(at), repeated: () => end(at), notStored: done.reject });
    }
    await delay(TICK_MS);
  }
  await done.promise;
  return latencies.sort();
}

/** Messages a second. */
async function saturated(submit: Submit, forMs: number): Promise<number> {
  const began = performance.now();
  const done = Promise.withResolvers<void>();
  let [stored, inFlight] = [0, 0];
  const next = () => {
    inFlight += 1;
    submit({ stored: ended, repeated: ended, notStored: done.reject });
  };
  const ended = () => {
    stored += 1;
    inFlight -= 1;
    if (performance.now() - began < forMs) next();
    else if (inFlight === 0) done.resolve();
  };
  for (let i = 0; i < WAITING; i += 1) next();
  await done.promise;
  return stored / ((performance.now() - began) / 1000);
}

export async function quorumIngest({
  rate,
  rounds,
  hasKeys,
  afterwards,
}: IngestOptions): Promise<readonly IngestTurns[]> {
  const settings = ['shared_buffers=256MB', 'max_wal_size=4GB'];
  const cluster = await PostgresCluster.start({ standbys: 2, settings });
  try {
    const own = cluster.settings();
    await cluster.primary.ask(`CREATE SCHEMA ${own.schema} AUTHORIZATION ${own.user}`);
    const database = new PostgresDatabase(own);
    const log = pino({ level: 'warn' }, process.stderr);
    const open = (node: string, inFlight: number) =>
      openPostgresTelemetry({ database, journal: 'telemetry', node, now: Date.now, log, limits: { inFlight } });
    const [single, several] = [await open('single', 1), await open('several', SLOTS)];
    const turns = [
      { node: single, inFlight: 1 },
      { node: several, inFlight: SLOTS },
    ].map((turn) => ({
      ...{ ...turn, submit: submitterTo(turn.node, hasKeys), p50: [] as number[], p99: [] as number[] },
      ...{ most: [] as number[], cpu: 0, messages: 0, commits: 0 },
    }));
    for (const { submit } of turns) await steady(submit, rate, WARM_UP_MS);
    for (let round = 0; round < rounds; round += 1) {
      for (const turn of turns) {
        const { commits } = turn.node.counters();
        const before = process.cpuUsage();
        const latencies = await steady(turn.submit, rate, 1_000);
        const { user, system } = process.cpuUsage(before);
        const at = (part: number) => latencies[Math.floor((latencies.length - 1) * part)] as number;
        turn.p50.push(at(0.5));
        turn.p99.push(at(0.99));
        turn.cpu += user + system;
        turn.messages += latencies.length;
        turn.commits += turn.node.counters().commits - commits;
      }
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const turn of turns) turn.most.push(await saturated(turn.submit, 500));
    }
    const stored = turns.reduce((sum, { node }) => sum + node.counters().stored, 0);
    await afterwards?.(several, database, stored);
    for (const { node } of turns) await node.close();
    await database.close();
    return turns.map(({ inFlight, p50, p99, most, cpu, messages, commits }) => {
      return { inFlight, p50, p99, most, messagesPerCommit: messages / commits, cpu: cpu / messages };
    });
  } finally {
    await cluster.dispose();
  }
}
