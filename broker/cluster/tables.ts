/**
 * The tables of sessions on PostgreSQL, and the statement of each change. Each session belongs to one node, which has its rows in memory
 * and is the only one to change them. Every change is idempotent: a batch whose outcome is unknown is written again.
 */

import type { PreparedStatement, TableSet } from '../../storage/postgres/index.ts';
import type { SessionChangeName, SessionChangeValue } from '../session-store/session-changes.ts';

export const SESSION_TABLES: TableSet = {
  name: 'sessions',
  migrations: [
    {
      oldest: 1,
      sql: `
        -- The epoch grows with each process of a node, and when another node takes over what it had: then its writes are refused.
        CREATE TABLE session_nodes (
          name   TEXT COLLATE "C" PRIMARY KEY,
          number INTEGER NOT NULL UNIQUE,
          epoch  BIGINT NOT NULL
        );
        CREATE TABLE session_claims (
          client_id TEXT COLLATE "C" PRIMARY KEY,
          node      TEXT COLLATE "C" NOT NULL,
          epoch     BIGINT NOT NULL
        );
        CREATE INDEX session_claims_of_node ON session_claims (node);
        CREATE TABLE sessions (
          client_id  TEXT COLLATE "C" PRIMARY KEY,
          owner      TEXT COLLATE "C" NOT NULL,
          about      TEXT NOT NULL,
          away_since BIGINT,
          expiry     BIGINT NOT NULL
        );
        CREATE TABLE session_subscriptions (
          client_id               TEXT COLLATE "C" NOT NULL,
          filter                  TEXT COLLATE "C" NOT NULL,
          qos                     SMALLINT NOT NULL,
          no_local                SMALLINT NOT NULL,
          retain_as_published     SMALLINT NOT NULL,
          retain_handling         SMALLINT NOT NULL,
          subscription_identifier BIGINT,
          PRIMARY KEY (client_id, filter)
        );
        CREATE TABLE session_bodies (
          id         BIGINT PRIMARY KEY,
          topic      TEXT NOT NULL,
          payload    BYTEA NOT NULL,
          qos        SMALLINT NOT NULL,
          retain     SMALLINT NOT NULL,
          properties TEXT,
          expires_at BIGINT,
          publisher  TEXT
        );
        CREATE TABLE session_queued (
          id                       BIGINT PRIMARY KEY,
          client_id                TEXT COLLATE "C" NOT NULL,
          body                     BIGINT,
          packet_id                INTEGER,
          qos                      SMALLINT NOT NULL,
          retain                   SMALLINT NOT NULL,
          subscription_identifiers TEXT,
          share                    TEXT
        );
        CREATE INDEX session_queued_of_client ON session_queued (client_id);
        CREATE INDEX session_queued_of_body ON session_queued (body);
        CREATE TABLE session_incoming (
          client_id TEXT COLLATE "C" NOT NULL,
          packet_id INTEGER NOT NULL,
          key       TEXT,
          PRIMARY KEY (client_id, packet_id)
        );
        CREATE TABLE session_retained (
          topic      TEXT COLLATE "C" PRIMARY KEY,
          owner      TEXT,
          payload    BYTEA NOT NULL,
          qos        SMALLINT NOT NULL,
          properties TEXT,
          expires_at BIGINT,
          publisher  TEXT
        );
        CREATE TABLE session_wills (
          client_id      TEXT COLLATE "C" PRIMARY KEY,
          about          TEXT NOT NULL,
          topic          TEXT NOT NULL,
          payload        BYTEA NOT NULL,
          qos            SMALLINT NOT NULL,
          retain         SMALLINT NOT NULL,
          properties     TEXT,
          message_expiry BIGINT,
          delay          BIGINT NOT NULL,
          due_at         BIGINT
        );
        -- Filters that have receivers on a node.
        CREATE TABLE session_routes (
          node   TEXT COLLATE "C" NOT NULL,
          filter TEXT COLLATE "C" NOT NULL,
          PRIMARY KEY (node, filter)
        );
        -- What one node has for another, in the order of its numbers; and up to which number each has applied it.
        CREATE TABLE node_messages (
          to_node   TEXT COLLATE "C" NOT NULL,
          from_node TEXT COLLATE "C" NOT NULL,
          number    BIGINT NOT NULL,
          about     TEXT NOT NULL,
          payload   BYTEA NOT NULL,
          PRIMARY KEY (to_node, from_node, number)
        );
        CREATE TABLE node_cursors (
          to_node   TEXT COLLATE "C" NOT NULL,
          from_node TEXT COLLATE "C" NOT NULL,
          number    BIGINT NOT NULL,
          PRIMARY KEY (to_node, from_node)
        );
      `,
    },
    {
      oldest: 2,
      sql: `
        -- Claims that a node wants from the one that has them. They are not durable: a node that gets no answer asks again.
        CREATE TABLE session_requests (
          client_id TEXT COLLATE "C" NOT NULL,
          node      TEXT COLLATE "C" NOT NULL,
          owner     TEXT COLLATE "C" NOT NULL,
          number    BIGINT NOT NULL,
          PRIMARY KEY (client_id, node)
        );
        CREATE INDEX session_requests_of_owner ON session_requests (owner);
      `,
    },
  ],
};

/** Changes that only several nodes have. */
export type ClusterChangeName =
  | 'moveClaim'
  | 'dropClaim'
  | 'dropClaimRequest'
  | 'putRoute'
  | 'dropRoute'
  | 'putNodeMessage'
  | 'dropNodeMessages'
  | 'putCursor';

export interface ClusterChange {
  readonly name: SessionChangeName | ClusterChangeName;
  readonly values: readonly SessionChangeValue[];
}

function upsert(table: string, keys: readonly string[], columns: readonly string[]): string {
  const places = [...keys, ...columns].map((_, index) => `$${index + 1}`).join(', ');
  const set = columns.map((column) => `${column} = EXCLUDED.${column}`).join(', ');
  const target = `ON CONFLICT (${keys.join(', ')})`;
  return `INSERT INTO ${table} (${[...keys, ...columns].join(', ')}) VALUES (${places}) ${target} DO UPDATE SET ${set}`;
}

const TEXTS: Readonly<Record<ClusterChange['name'], string>> = {
  putSession: upsert('sessions', ['client_id'], ['owner', 'about', 'away_since', 'expiry']),
  setAway: 'UPDATE sessions SET away_since = $1 WHERE client_id = $2',
  setExpiry: 'UPDATE sessions SET expiry = $1 WHERE client_id = $2',
  dropSession: 'DELETE FROM sessions WHERE client_id = $1',
  putSubscription: upsert(
    'session_subscriptions',
    ['client_id', 'filter'],
    ['qos', 'no_local', 'retain_as_published', 'retain_handling', 'subscription_identifier'],
  ),
  dropSubscription: 'DELETE FROM session_subscriptions WHERE client_id = $1 AND filter = $2',
  dropSubscriptions: 'DELETE FROM session_subscriptions WHERE client_id = $1',
  putBody: upsert(
    'session_bodies',
    ['id'],
    ['topic', 'payload', 'qos', 'retain', 'properties', 'expires_at', 'publisher'],
  ),
  // Sessions of other nodes may have it in their queues.
  dropBody: `DELETE FROM session_bodies
    WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM session_queued WHERE session_queued.body = session_bodies.id)`,
  putQueued: upsert(
    'session_queued',
    ['id'],
    ['client_id', 'body', 'qos', 'retain', 'subscription_identifiers', 'share'],
  ),
  numberQueued: 'UPDATE session_queued SET packet_id = $1 WHERE id = $2',
  releaseQueued: 'UPDATE session_queued SET body = NULL WHERE id = $1',
  dropQueued: 'DELETE FROM session_queued WHERE id = $1',
  putIncoming: upsert('session_incoming', ['client_id', 'packet_id'], ['key']),
  dropIncoming: 'DELETE FROM session_incoming WHERE client_id = $1 AND packet_id = $2',
  dropAllIncoming: 'DELETE FROM session_incoming WHERE client_id = $1',
  putRetained: upsert(
    'session_retained',
    ['topic'],
    ['owner', 'payload', 'qos', 'properties', 'expires_at', 'publisher'],
  ),
  dropRetained: 'DELETE FROM session_retained WHERE topic = $1',
  dropRetainedOf: 'DELETE FROM session_retained WHERE topic = $1 AND owner = $2',
  dropExpiredRetained: 'DELETE FROM session_retained WHERE topic = $1 AND expires_at <= $2',
  putWill: upsert(
    'session_wills',
    ['client_id'],
    ['about', 'topic', 'payload', 'qos', 'retain', 'properties', 'message_expiry', 'delay', 'due_at'],
  ),
  setWillDue: 'UPDATE session_wills SET due_at = $1 WHERE client_id = $2',
  dropWill: 'DELETE FROM session_wills WHERE client_id = $1',
  moveClaim: 'UPDATE session_claims SET node = $1, epoch = epoch + 1 WHERE client_id = $2 AND node = $3',
  dropClaim: 'DELETE FROM session_claims WHERE client_id = $1 AND node = $2',
  dropClaimRequest: 'DELETE FROM session_requests WHERE client_id = $1 AND node = $2 AND number <= $3',
  putRoute: 'INSERT INTO session_routes (node, filter) VALUES ($1, $2) ON CONFLICT DO NOTHING',
  dropRoute: 'DELETE FROM session_routes WHERE node = $1 AND filter = $2',
  putNodeMessage: `INSERT INTO node_messages (to_node, from_node, number, about, payload)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
  dropNodeMessages: 'DELETE FROM node_messages WHERE to_node = $1 AND from_node = $2 AND number <= $3',
  putCursor: upsert('node_cursors', ['to_node', 'from_node'], ['number']),
};

export const STATEMENTS = Object.fromEntries(
  Object.entries(TEXTS).map(([name, text]) => [name, { name: `sessions ${name}`, text }]),
) as Readonly<Record<ClusterChange['name'], PreparedStatement>>;
