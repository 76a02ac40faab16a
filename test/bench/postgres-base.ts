/**
 * What a store on PostgreSQL costs below everything else: a block of messages that a standby confirms, wakes between nodes, and a small
 * transaction beside the same one on SQLite. A primary with two standbys, Debian's, on this machine with its disk; this process is a node.
 */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { PostgresDatabase, PostgresWakes } from '../../storage/postgres/index.ts';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';
import type { Bench } from './bench.ts';
import type { Result } from './results.ts';
import { postgresPrograms } from './sink-targets.ts';
import { percentile, spread } from './statistics.ts';

const MESSAGES_PER_BLOCK = 200;
/** A payload of 200 bytes, and what the journal adds. */
const BYTES_PER_MESSAGE = 232;
const LANES = 4;
const NODES = 3;
const TURNS = 10;
const NEVER = 2 ** 31 - 1;

const BLOCKS = 'CREATE TABLE blocks (lane BIGINT, number BIGINT, block BYTEA NOT NULL, PRIMARY KEY (lane, number))';
const STORE_BLOCK = { name: 'store block', text: 'INSERT INTO blocks (lane, number, block) VALUES ($1, $2, $3)' };

const TABLES = [
  'CREATE TABLE counters (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)',
  'CREATE TABLE entries (number BIGINT PRIMARY KEY, text TEXT NOT NULL)',
  'INSERT INTO counters VALUES (1, 0)',
];
const INCREMENT = 'UPDATE counters SET value = value + 1 WHERE id = $1 RETURNING value';
const NOTE = 'INSERT INTO entries (number, text) VALUES ($1, $2)';

export async function postgres({ sizes }: Bench): Promise<readonly Result[]> {
  if (postgresPrograms() === undefined) return [];
  const results: Result[] = [];
  const count = sizes.messages;
  for (const standbys of [2, 0]) {
    const open: (() => Promise<void>)[] = [];
    const cluster = await PostgresCluster.start({ standbys }, (action) => open.push(action));
    const of = standbys === 0 ? 'one server' : 'a primary with any 1 of 2 standbys';
    try {
      const database = await cluster.open();
      await database.execute(BLOCKS);
      results.push(...(await blocks(database, Math.ceil(count / 10), of)));
      results.push(...(await transactions(database, Math.ceil(count / 4), of)));
      if (standbys > 0) results.push(...(await wakes(cluster, Math.ceil(count / 10), of)));
    } finally {
      for (const close of open) await close();
      await cluster.dispose();
    }
  }
  return results;
}

/** One after the other, then as fast as several lanes can. */
async function blocks(database: PostgresDatabase, count: number, of: string): Promise<readonly Result[]> {
  const block = randomBytes(MESSAGES_PER_BLOCK * BYTES_PER_MESSAGE);
  const store = async (lane: number, number: number) => {
    const begin = performance.now();
    await database.execute(STORE_BLOCK, [lane, number, block]);
    return performance.now() - begin;
  };
  for (let number = 0; number < count / 5; number += 1) await store(0, number);
  const alone: number[] = [];
  for (let number = 0; number < count; number += 1) alone.push(await store(1, number));
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: LANES }, async (_, lane) => {
      for (let number = 0; number < count; number += 1) await store(2 + lane, number);
    }),
  );
  const perSecond = (LANES * count * MESSAGES_PER_BLOCK * 1000) / (performance.now() - begin);
  const row = `commit of ${MESSAGES_PER_BLOCK} messages as one block, ${of}`;
  return [
    {
      ...milliseconds(`${row}, p50`, percentile(alone, 50)),
      remarks: [`${LANES} lanes at once stored ${perSecond.toFixed(0)} messages/s`],
    },
    milliseconds(`${row}, p99`, percentile(alone, 99), 25),
  ];
}

/** A change and its audit entry, as a transaction of two statements of which the second needs the answer of the first. */
async function transactions(database: PostgresDatabase, count: number, of: string): Promise<readonly Result[]> {
  for (const sql of TABLES) await database.execute(sql);
  const inPostgres = async () => {
    await database.transaction(async (transaction) => {
      const { rows } = await transaction.query<{ value: number }>({ name: 'increment', text: INCREMENT }, [1]);
      await transaction.query({ name: 'note', text: NOTE }, [rows[0]?.value, 'what was done']);
    });
  };
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-bench-sqlite-'));
  const sqlite = new Database(join(directory, 'bench.db'));
  try {
    sqlite.pragma('journal_mode = WAL');
    sqlite.pragma('synchronous = FULL');
    for (const sql of TABLES) sqlite.exec(sql);
    const [increment, note] = [
      sqlite.prepare(INCREMENT.replace('$1', '?')),
      sqlite.prepare('INSERT INTO entries VALUES (?, ?)'),
    ];
    const inSqlite = sqlite.transaction(() => {
      const { value } = increment.get(1) as { readonly value: number };
      note.run(value, 'what was done');
    });
    const [postgresTimes, sqliteTimes] = await inTurns(count, inPostgres, async () => inSqlite());
    const row = `transaction of two statements, ${of}`;
    const ratio = percentile(postgresTimes.took, 50) / percentile(sqliteTimes.took, 50);
    const cpuRatio = postgresTimes.cpu / sqliteTimes.cpu;
    return [
      {
        ...milliseconds(`${row}, p50`, percentile(postgresTimes.took, 50)),
        remarks: [
          `${ratio.toFixed(1)} times the one on SQLite, ${percentile(sqliteTimes.took, 50).toFixed(2)} ms; of CPU of the node ` +
            `${postgresTimes.cpu.toFixed(0)} µs, ${cpuRatio.toFixed(1)} times the ${sqliteTimes.cpu.toFixed(0)} µs`,
        ],
      },
      milliseconds(`${row}, p99`, percentile(postgresTimes.took, 99)),
    ];
  } finally {
    sqlite.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Times {
  /** Milliseconds of each. */
  readonly took: readonly number[];
  /** Microseconds of CPU time of this process for one, all threads. */
  readonly cpu: number;
}

/** Both in short turns, so that other load of the machine affects both. */
async function inTurns(count: number, ...acts: readonly (() => Promise<unknown>)[]): Promise<[Times, Times]> {
  const times = acts.map(() => ({ took: [] as number[], cpu: 0 }));
  const perTurn = Math.ceil(count / TURNS);
  for (let turn = -1; turn < TURNS; turn += 1) {
    for (const [index, act] of acts.entries()) {
      const { took, cpu } = await timed(perTurn, act);
      const all = times[index];
      if (turn < 0 || all === undefined) continue; // the first one warms up
      all.took.push(...took);
      all.cpu += cpu / TURNS;
    }
  }
  return times as unknown as [Times, Times];
}

async function timed(count: number, act: () => Promise<unknown>): Promise<Times> {
  const took: number[] = [];
  const before = process.cpuUsage();
  for (let done = 0; done < count; done += 1) {
    const begin = performance.now();
    await act();
    took.push(performance.now() - begin);
  }
  const { user, system } = process.cpuUsage(before);
  return { took, cpu: (user + system) / count };
}

/** From `wake` on one node until the listeners of all have been called. */
async function wakes(cluster: PostgresCluster, count: number, of: string): Promise<readonly Result[]> {
  const settings = cluster.settings();
  const databases = Array.from({ length: NODES }, () => new PostgresDatabase(settings));
  const carriers: PostgresWakes[] = [];
  for (const database of databases) {
    await new Promise<void>((resolve) => {
      carriers.push(new PostgresWakes({ database, onConnected: resolve, atLeastEvery: NEVER }));
    });
  }
  let missing = 0;
  let arrived = Promise.withResolvers<void>();
  for (const carrier of carriers) {
    carrier.onWake('bench', () => {
      missing -= 1;
      if (missing === 0) arrived.resolve();
    });
  }
  const took: number[] = [];
  for (let done = 0; done < count; done += 1) {
    missing = NODES;
    arrived = Promise.withResolvers();
    const begin = performance.now();
    carriers[done % NODES]?.wake('bench');
    await arrived.promise;
    took.push(performance.now() - begin);
  }
  for (const carrier of carriers) await carrier.close();
  for (const database of databases) await database.close();
  const row = `wake until ${NODES} nodes have it, ${of}`;
  return [
    { ...milliseconds(`${row}, p50`, percentile(took, 50)), remarks: ['the first wake after a pause is sent at once'] },
    milliseconds(`${row}, p99`, percentile(took, 99)),
  ];
}

function milliseconds(row: string, value: number, under?: number): Result {
  return {
    row,
    unit: 'ms',
    figures: { rollcall: spread([[value]]) },
    ratios: {},
    goals: under === undefined ? [] : [{ text: `under ${under} ms`, reached: value < under }],
    remarks: [],
  };
}
