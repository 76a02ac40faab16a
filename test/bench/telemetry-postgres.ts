/**
 * Telemetry on PostgreSQL with two standbys, one of which confirms each commit, all on this machine: how long an acknowledgement takes
 * at a steady rate, and how many messages a second are stored when as many wait as may. Messages of 200 bytes of 10,000 devices. Two nodes
 * take turns of a second, one with a single commit on its way at a time, so that other load of the machine affects both alike.
 *
 * node bin/pinned.js test/bench/telemetry-postgres.ts [MESSAGES PER SECOND] [SECONDS] [counted]
 */

import { randomBytes } from 'node:crypto';
import { cpus, loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import { pino } from 'pino';
import { PostgresDatabase } from '../../storage/postgres/index.ts';
import { SLOTS } from '../../telemetry/postgres/lane-ends.ts';
import { type LaneTelemetry, openPostgresTelemetry } from '../../telemetry/postgres/open.ts';
import type { AcceptCallbacks } from '../../telemetry/telemetry.ts';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';
import { percentile } from './statistics.ts';

const DEVICES = 10_000;
const TICK_MS = 1;
/** Messages in flight when as many are stored as can be. */
const IN_FLIGHT = 20_000;
const WARM_UP_MS = 2_000;
const QUERIES = 21;
const MOST_EXPORTED = 300_000;

const [rate = 25_000, seconds = 10] = process.argv.slice(2, 4).map(Number);
const hasKeys = process.argv[4] === 'counted';
const devices = Array.from({ length: DEVICES }, (_, i) => `dev-${i}` as DeviceId);
let sent = 0;

/** 200 bytes, most of them other ones in each message: figures, and an id. */
function payload(): Buffer {
  const figures = Array.from({ length: 6 }, () => (Math.random() * 100).toFixed(3));
  const text = `{"id":"${randomBytes(24).toString('base64url')}","figures":[${figures}],"unit":"celsius","state":"running"}`;
  return Buffer.from(text.padEnd(200, ' '));
}

const NOTHING_YET = { cpu: 0, messages: 0, commits: 0 };
const PAYLOADS = Array.from({ length: 1_000 }, payload);

function submit(telemetry: LaneTelemetry, callbacks: AcceptCallbacks): void {
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
}

/** Ms from the time at which each message was due to its acknowledgement, sorted. */
async function steady(telemetry: LaneTelemetry, forMs: number): Promise<Float64Array> {
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
      submit(telemetry, { stored: () => end(at), repeated: () => end(at), notStored: done.reject });
    }
    await delay(TICK_MS);
  }
  await done.promise;
  return latencies.sort();
}

/** Messages a second. */
async function saturated(telemetry: LaneTelemetry, forMs: number): Promise<number> {
  const began = performance.now();
  const done = Promise.withResolvers<void>();
  let [stored, inFlight] = [0, 0];
  const next = () => {
    inFlight += 1;
    submit(telemetry, { stored: ended, repeated: ended, notStored: done.reject });
  };
  const ended = () => {
    stored += 1;
    inFlight -= 1;
    if (performance.now() - began < forMs) next();
    else if (inFlight === 0) done.resolve();
  };
  for (let i = 0; i < IN_FLIGHT; i += 1) next();
  await done.promise;
  return stored / ((performance.now() - began) / 1000);
}

function median(values: readonly number[]): string {
  return percentile(values, 50).toFixed(1);
}

/** Medians, of devices in turn. */
async function queries(telemetry: LaneTelemetry, stored: number): Promise<void> {
  const time = async (name: string, ask: (device: DeviceId) => Promise<unknown>, rounds = QUERIES) => {
    const times: number[] = [];
    for (let i = 0; i < rounds; i += 1) {
      const began = performance.now();
      await ask(devices[(i * 997) % DEVICES] as DeviceId);
      times.push(performance.now() - began);
    }
    times.sort((one, other) => one - other);
    console.log(`${name}: ${(times[times.length >> 1] as number).toFixed(1)} ms among ${stored} messages`);
  };
  await time('the newest 100 of one device', (device) => telemetry.query({ device, limit: 100 }));
  await time('the last value of one device', (device) => telemetry.last(device));
  await time(`the last value of ${DEVICES} devices`, () => telemetry.last(), 5);
  const began = performance.now();
  let exported = 0;
  for await (const page of telemetry.pages({})) {
    exported += page.length;
    if (exported >= MOST_EXPORTED) break;
  }
  console.log(`exported: ${((exported * 1000) / (performance.now() - began)).toFixed(0)} messages/s`);
}

const cluster = await PostgresCluster.start({ standbys: 2, settings: ['shared_buffers=256MB', 'max_wal_size=4GB'] });
try {
  const settings = cluster.settings();
  await cluster.primary.ask(`CREATE SCHEMA ${settings.schema} AUTHORIZATION ${settings.user}`);
  const database = new PostgresDatabase(settings);
  const log = pino({ level: 'warn' }, process.stderr);
  const open = (node: string, inFlight: number) =>
    openPostgresTelemetry({ database, journal: 'telemetry', node, now: Date.now, log, limits: { inFlight } });
  const telemetry = await open('bench', SLOTS);
  const turns = [
    { node: await open('single', 1), inFlight: 1, ...NOTHING_YET },
    { node: telemetry, inFlight: SLOTS, ...NOTHING_YET },
  ].map((turn) => ({ ...turn, p50: [] as number[], p99: [] as number[], most: [] as number[] }));
  for (const { node } of turns) await steady(node, WARM_UP_MS);
  for (let round = 0; round < seconds; round += 1) {
    for (const turn of turns) {
      const { commits } = turn.node.counters();
      const before = process.cpuUsage();
      const latencies = await steady(turn.node, 1_000);
      const { user, system } = process.cpuUsage(before);
      const at = (part: number) => latencies[Math.floor((latencies.length - 1) * part)] as number;
      turn.p50.push(at(0.5));
      turn.p99.push(at(0.99));
      turn.cpu += user + system;
      turn.messages += latencies.length;
      turn.commits += turn.node.counters().commits - commits;
      turn.most.push(await saturated(turn.node, 500));
    }
  }
  console.log(`${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}; ${hasKeys ? 'counted keys' : 'no keys'}`);
  for (const { inFlight, p50, p99, most, cpu, messages, commits } of turns) {
    console.log(
      `${inFlight} on their way, ${rate} messages/s for ${seconds} s: acknowledged p50 ${median(p50)} ms, p99 ${median(p99)} ms ` +
        `(medians of seconds; p99 of the best second ${Math.min(...p99).toFixed(1)} ms)`,
    );
    console.log(
      `  ${(messages / commits).toFixed(0)} messages a commit; ${(cpu / messages).toFixed(1)} µs CPU a message in the node; ` +
        `saturated: ${percentile(most, 50).toFixed(0)} messages/s with ${IN_FLIGHT} in flight`,
    );
  }
  const { rows } = await database.query<{ table: string; bytes: number }>(
    `SELECT split_part(relname, '_', 2) AS table, sum(pg_total_relation_size(oid)) :: bigint AS bytes FROM pg_class
     WHERE relname LIKE 'telemetry\\_%' AND relkind = 'r' GROUP BY 1 ORDER BY 2 DESC`,
  );
  const stored = turns.reduce((sum, { node }) => sum + node.counters().stored, 0);
  const sizes = rows.map(({ table, bytes }) => `${table} ${(bytes / stored).toFixed(1)}`).join(', ');
  console.log(`bytes a message: ${sizes}`);
  await queries(telemetry, stored);
  for (const { node } of turns) await node.close();
  await database.close();
} finally {
  await cluster.dispose();
}
