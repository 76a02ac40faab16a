/**
 * All sessions in a store that several nodes share, for a copy from a data directory or to one. No node runs meanwhile. Sessions that come
 * from a data directory belong to a node that has no process, until the first node that starts takes them (`takeMovedSessions`).
 */

import { Problem } from '@rollcall/protocol';
import { hasTables, migrate, type PostgresDatabase } from '../../storage/postgres/index.ts';
import { changesOfRows, clientsOf } from '../session-store/copied-sessions.ts';
import type { SessionRows } from '../session-store/session-rows.ts';
import { MOST_NODES } from './cluster-nodes.ts';
import { toColumn } from './session-changes.ts';
import { SESSION_TABLES, STATEMENTS } from './tables.ts';

/** What had the sessions that a data directory has left. No node has this name. */
const DATA_DIRECTORY = 'file:';
/** Rows with ids of this remainder are its own (`row-ids.ts`). */
const NUMBER = 0;

const PENDING_AT_ONCE = 1_000;

const ALL = {
  sessions: 'SELECT client_id, owner, about, away_since, expiry FROM sessions',
  subscriptions: `SELECT client_id, filter, qos, no_local, retain_as_published, retain_handling, subscription_identifier
    FROM session_subscriptions`,
  bodies: 'SELECT id, topic, payload, qos, retain, properties, expires_at, publisher FROM session_bodies',
  queued:
    'SELECT id, client_id, body, packet_id, qos, retain, subscription_identifiers, share FROM session_queued ORDER BY id',
  incoming: 'SELECT client_id, packet_id, key FROM session_incoming',
  retained: 'SELECT topic, owner, payload, qos, properties, expires_at, publisher FROM session_retained',
  wills: `SELECT client_id, about, topic, payload, qos, retain, properties, message_expiry, delay, due_at
    FROM session_wills`,
} as const satisfies Record<keyof SessionRows, string>;

/** What a person counts. */
const COUNTED = ['sessions', 'subscriptions', 'queued', 'incoming', 'retained', 'wills'] as const;
type Counted = (typeof COUNTED)[number];

const TABLES = [
  ...['sessions', 'session_subscriptions', 'session_bodies', 'session_queued', 'session_incoming', 'session_retained'],
  ...['session_wills', 'session_claims', 'session_requests', 'session_nodes'],
  // Numbers of messages begin anew with the epochs of nodes.
  ...['session_routes', 'node_messages', 'node_cursors'],
];

/** Messages of one node for another that no node has applied. */
const UNAPPLIED = `SELECT to_node, count(*)::int AS messages FROM node_messages AS m
  WHERE about LIKE '{"kind":"message"%' AND number > coalesce(
    (SELECT number FROM node_cursors AS c WHERE c.to_node = m.to_node AND c.from_node = m.from_node), 0)
  GROUP BY to_node ORDER BY to_node LIMIT 1`;

/** Makes the tables where there are none. Throws what the database throws. */
export async function hasSharedSessions(database: PostgresDatabase): Promise<boolean> {
  await migrate(database, SESSION_TABLES);
  for (const table of ['session_nodes', 'sessions', 'session_claims', 'session_retained', 'node_messages']) {
    const { count } = await database.query(`SELECT 1 FROM ${table} LIMIT 1`);
    if (count > 0) return true;
  }
  return false;
}

/** All or none, in place of what an interrupted copy has left. */
export async function writeSharedSessions(database: PostgresDatabase, rows: SessionRows): Promise<void> {
  await database.transaction(
    async (transaction) => {
      let pending: Promise<unknown>[] = [];
      const send = async (...sent: Parameters<typeof transaction.query>) => {
        pending.push(transaction.query(...sent));
        if (pending.length < PENDING_AT_ONCE) return;
        await Promise.all(pending);
        pending = [];
      };
      for (const table of TABLES) await send(`DELETE FROM ${table}`);
      await send('INSERT INTO session_nodes (name, number, epoch) VALUES ($1, $2, 1)', [DATA_DIRECTORY, NUMBER]);
      for (const { name, values } of changesOfRows(rows, (place) => place * MOST_NODES + NUMBER)) {
        await send(STATEMENTS[name], values.map(toColumn));
      }
      await send(
        `INSERT INTO session_claims (client_id, node, epoch) SELECT client_id, $2, 1 FROM unnest($1::text[]) AS c (client_id)`,
        [[...clientsOf(rows)], DATA_DIRECTORY],
      );
      await Promise.all(pending);
    },
    { isUnlimited: true },
  );
}

/** Throws Problem `store_in_use` while messages for sessions wait for a node that does not run, and what the database throws. */
export async function readSharedSessions(database: PostgresDatabase): Promise<SessionRows> {
  await migrate(database, SESSION_TABLES);
  const waiting = await database.query<{ readonly to_node: string; readonly messages: number }>(UNAPPLIED);
  const [unapplied] = waiting.rows;
  if (unapplied !== undefined) {
    throw new Problem('store_in_use', {
      reason: `${unapplied.messages} messages wait for sessions of node ${unapplied.to_node}`,
      hint: 'start one node, wait until it is ready, and stop it: it takes over what the others have left',
    });
  }
  return database.transaction(
    async (transaction) => {
      const found: Record<string, readonly unknown[]> = {};
      for (const [name, sql] of Object.entries(ALL)) found[name] = (await transaction.query(sql)).rows;
      return found as unknown as SessionRows;
    },
    { isolation: 'repeatable read', isUnlimited: true },
  );
}

/** As many as `readSharedSessions` returns, while nodes run. Changes nothing. */
export async function countSharedSessions(database: PostgresDatabase): Promise<Readonly<Record<Counted, number>>> {
  const counts = { sessions: 0, subscriptions: 0, queued: 0, incoming: 0, retained: 0, wills: 0 };
  if (!(await hasTables(database, SESSION_TABLES))) return counts;
  for (const name of COUNTED) {
    const { rows } = await database.query<{ readonly rows: number }>(
      `SELECT count(*) AS rows FROM (${ALL[name]}) AS found`,
    );
    counts[name] = rows[0]?.rows ?? 0;
  }
  return counts;
}

/** The first node that starts after a move has its sessions, before it listens. */
export async function takeMovedSessions(database: PostgresDatabase, node: string): Promise<void> {
  await database.execute('UPDATE session_claims SET node = $1, epoch = epoch + 1 WHERE node = $2', [
    node,
    DATA_DIRECTORY,
  ]);
}
