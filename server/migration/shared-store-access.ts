/** The shared store of a migration: no node uses it, and none starts until the migration has ended. */

import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { DEAF_AFTER_MS, EXPIRED_AFTER_MS, suspensionAwareClock } from '../../storage/index.ts';
import {
  CURSOR_TABLES,
  expectNoNewerTables,
  LEASE_TABLES,
  LeaseTable,
  migrate,
  NODE_LEASES,
  NODE_TABLES,
  PostgresDatabase,
  Singletons,
  type SingletonTerm,
  STORE_NOTE_TABLES,
} from '../../storage/postgres/index.ts';
import { fleetTables } from '../cluster/fleet-tables.ts';
import type { Config } from '../config/config.ts';
import { configuredStore } from '../config/store-settings.ts';
import { MIGRATION_LEASE } from './usable-store.ts';

export interface SharedStoreOptions {
  readonly store: Config['store'];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Tells the person what the migration waits for. */
  readonly waiting: (what: string) => void;
}

export interface SharedStoreAccess {
  readonly database: PostgresDatabase;
  /** As a note on the other side names it. */
  readonly name: string;
  /** Throws Problem `unavailable` when another process may use the store by now. */
  expectHeld(): void;
  close(): Promise<void>;
}

const CONNECTIONS = 4;
/** On a busy machine a commit may take seconds. */
const LEASE_MS = 20_000;
const RENEWED_EVERY_MS = 2_000;
/** The lease of a migration that was killed is free by then. */
const PATIENCE_MS = 40_000;
/** After this time the person is told what is waited for. */
const QUIET_MS = 3_000;
const LOOK_EVERY_MS = 500;

/** Connects, and makes nothing. */
export function connectSharedStore(store: Config['store'], now: () => number): PostgresDatabase {
  return new PostgresDatabase({
    ...configuredStore(store, now),
    connections: CONNECTIONS,
    applicationName: 'rollcall migrate',
  });
}

export function sharedStoreName({ url, schema }: Config['store']): string {
  return `${url} (schema ${schema})`;
}

/** Throws Problem `store_in_use` while nodes or another migration use it, `database_newer` for tables of a newer release, what the database throws, and what `use` throws. */
export async function withSharedStore<Value>(
  options: SharedStoreOptions,
  use: (store: SharedStoreAccess) => Promise<Value>,
): Promise<Value> {
  const store = await openSharedStore(options);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

async function openSharedStore({ store, now, waiting }: SharedStoreOptions): Promise<SharedStoreAccess> {
  const database = connectSharedStore(store, now);
  const clock = suspensionAwareClock();
  let singletons: Singletons | undefined;
  try {
    await database.check();
    for (const tables of [LEASE_TABLES, NODE_TABLES, CURSOR_TABLES, STORE_NOTE_TABLES]) await migrate(database, tables);
    const node = `migration on ${hostname()}`;
    const options = { database, node, now: clock, duration: LEASE_MS, every: RENEWED_EVERY_MS };
    const opened = new Singletons(options);
    singletons = opened;
    const term = await takeLease(opened, waiting);
    await untilNoNode(new LeaseTable(options), waiting);
    await expectNoNewerTables(database, fleetTables());
    return {
      database,
      name: sharedStoreName(store),
      expectHeld: () => {
        if (!term.isHeld)
          throw new Problem('unavailable', { reason: 'the lease of this migration was lost; run it again' });
      },
      close: async () => {
        await opened.close();
        await database.close();
      },
    };
  } catch (error) {
    await singletons?.close();
    await database.close();
    throw error;
  }
}

async function takeLease(singletons: Singletons, waiting: SharedStoreOptions['waiting']): Promise<SingletonTerm> {
  const taken = Promise.withResolvers<SingletonTerm>();
  singletons.compete(MIGRATION_LEASE, { onTaken: taken.resolve, onLost: () => {} });
  const told = setTimeout(() => waiting('another migration, which runs or was killed just now'), QUIET_MS);
  const late = new AbortController();
  const term = await Promise.race([
    taken.promise,
    delay(PATIENCE_MS, undefined, { signal: late.signal }).catch(() => undefined),
  ]);
  late.abort();
  clearTimeout(told);
  if (term !== undefined) return term;
  throw new Problem('store_in_use', { reason: 'another migration reads or writes it' });
}

/** By their leases: a node has one before it has done anything. */
async function untilNoNode(leases: LeaseTable, waiting: SharedStoreOptions['waiting']): Promise<void> {
  let isTold = false;
  for (;;) {
    const held = (await leases.list(NODE_LEASES)).filter(({ node }) => node !== undefined);
    const silent = held.map(({ name, renewedAt, readAt }) => ({
      name: name.slice(NODE_LEASES.length),
      since: readAt - renewedAt,
    }));
    const namesOf = (some: typeof silent) => some.map(({ name }) => name).join(', ');
    const alive = silent.filter(({ since }) => since < DEAF_AFTER_MS);
    if (alive.length > 0) {
      throw new Problem('store_in_use', {
        reason: `by ${alive.length === 1 ? 'node' : 'nodes'} ${namesOf(alive)}`,
        hint: 'stop every node first, with SIGTERM or "systemctl stop rollcall", one after the other',
      });
    }
    const doubtful = silent.filter(({ since }) => since < EXPIRED_AFTER_MS);
    if (doubtful.length === 0) return;
    if (!isTold) waiting(`node ${namesOf(doubtful)}: it was not stopped, and may not reach the database`);
    isTold = true;
    await delay(LOOK_EVERY_MS);
  }
}
