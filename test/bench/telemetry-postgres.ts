/**
 * Telemetry on PostgreSQL with two standbys, one of which confirms each commit, all on this machine: how long an acknowledgement takes
 * at a steady rate, how many messages a second are stored when as many wait as may, what a message takes, and how long queries take.
 *
 * node bin/pinned.js test/bench/telemetry-postgres.ts [MESSAGES PER SECOND] [SECONDS] [counted]
 */

import { cpus, loadavg } from 'node:os';
import type { DeviceId } from '@rollcall/protocol';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { LaneTelemetry } from '../../telemetry/postgres/open.ts';
import { DEVICES, devices, quorumIngest, WAITING } from './quorum-ingest.ts';
import { percentile } from './statistics.ts';

const QUERIES = 21;
const MOST_EXPORTED = 300_000;

const [rate = 25_000, seconds = 10] = process.argv.slice(2, 4).map(Number);
const hasKeys = process.argv[4] === 'counted';

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

async function tableSizes(database: PostgresDatabase, stored: number): Promise<string> {
  const { rows } = await database.query<{ table: string; bytes: number }>(
    `SELECT split_part(relname, '_', 2) AS table, sum(pg_total_relation_size(oid)) :: bigint AS bytes FROM pg_class
     WHERE relname LIKE 'telemetry\\_%' AND relkind = 'r' GROUP BY 1 ORDER BY 2 DESC`,
  );
  return rows.map(({ table, bytes }) => `${table} ${(bytes / stored).toFixed(1)}`).join(', ');
}

const turns = await quorumIngest({
  ...{ rate, rounds: seconds, hasKeys },
  afterwards: async (telemetry, database, stored) => {
    console.log(`bytes a message: ${await tableSizes(database, stored)}`);
    await queries(telemetry, stored);
  },
});
console.log(`${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}; ${hasKeys ? 'counted keys' : 'no keys'}`);
for (const { inFlight, p50, p99, most, messagesPerCommit, cpu } of turns) {
  console.log(
    `${inFlight} on their way, ${rate} messages/s for ${seconds} s: acknowledged p50 ${median(p50)} ms, p99 ${median(p99)} ms ` +
      `(medians of seconds; p99 of the best second ${Math.min(...p99).toFixed(1)} ms)`,
  );
  console.log(
    `  ${messagesPerCommit.toFixed(0)} messages a commit; ${cpu.toFixed(1)} µs CPU a message in the node; ` +
      `saturated: ${median(most)} messages/s with ${WAITING} waiting`,
  );
}
