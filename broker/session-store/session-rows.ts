/** What the session file contains, as its tables name it. Read once, when the store is opened. */

import type Database from 'better-sqlite3';

export interface SessionRow {
  readonly client_id: string;
  readonly owner: string;
  readonly about: string;
  readonly away_since: number | null;
  readonly expiry: number;
}

export interface SubscriptionRow {
  readonly client_id: string;
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly no_local: number;
  readonly retain_as_published: number;
  readonly retain_handling: 0 | 1 | 2;
  readonly subscription_identifier: number | null;
}

/** Columns that bodies and retained messages have in common. */
export interface MessageColumns {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly properties: string | null;
  readonly expires_at: number | null;
  readonly publisher: string | null;
}

export interface BodyRow extends MessageColumns {
  readonly id: number;
  readonly retain: number;
}

export interface QueuedRow {
  readonly id: number;
  readonly client_id: string;
  /** Null: only PUBREL is left to be sent. */
  readonly body: number | null;
  readonly packet_id: number | null;
  readonly qos: 1 | 2;
  readonly retain: number;
  readonly subscription_identifiers: string | null;
  readonly share: string | null;
}

export interface IncomingRow {
  readonly client_id: string;
  readonly packet_id: number;
  readonly key: string | null;
}

export interface RetainedRow extends MessageColumns {
  readonly owner: string | null;
}

export interface WillRow {
  readonly client_id: string;
  readonly about: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: number;
  readonly properties: string | null;
  readonly message_expiry: number | null;
  readonly delay: number;
  readonly due_at: number | null;
}

export interface SessionRows {
  readonly sessions: readonly SessionRow[];
  readonly subscriptions: readonly SubscriptionRow[];
  readonly bodies: readonly BodyRow[];
  readonly queued: readonly QueuedRow[];
  readonly incoming: readonly IncomingRow[];
  readonly retained: readonly RetainedRow[];
  readonly wills: readonly WillRow[];
}

/** Reads all rows. Those of queues are in the order in which they were written. */
export function readSessionRows(database: Database.Database): SessionRows {
  const all = (sql: string) => database.prepare(sql).all() as never;
  return {
    sessions: all('SELECT * FROM sessions'),
    subscriptions: all('SELECT * FROM subscriptions'),
    bodies: all('SELECT * FROM bodies'),
    queued: all('SELECT * FROM queued ORDER BY id'),
    incoming: all('SELECT * FROM incoming'),
    retained: all('SELECT * FROM retained'),
    wills: all('SELECT * FROM wills'),
  };
}
