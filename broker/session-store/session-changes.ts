/**
 * Every change of the session store, by name, with its SQL statement. Each is idempotent: a
 * batch whose outcome is unknown is written again.
 */

import type Database from 'better-sqlite3';

const CHANGES = {
  putSession: 'INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)',
  setAway: 'UPDATE sessions SET away_since = ? WHERE client_id = ?',
  dropSession: 'DELETE FROM sessions WHERE client_id = ?',
  putSubscription: 'INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)',
  dropSubscription: 'DELETE FROM subscriptions WHERE client_id = ? AND filter = ?',
  dropSubscriptions: 'DELETE FROM subscriptions WHERE client_id = ?',
  putBody: 'INSERT OR REPLACE INTO bodies VALUES (?, ?, ?, ?, ?)',
  dropBody: 'DELETE FROM bodies WHERE id = ?',
  putQueued: 'INSERT OR REPLACE INTO queued VALUES (?, ?, ?, ?)',
  numberQueued: 'UPDATE queued SET message_id = ? WHERE id = ?',
  releaseQueued: 'UPDATE queued SET body = NULL WHERE id = ?',
  dropQueued: 'DELETE FROM queued WHERE id = ?',
  putIncoming: 'INSERT OR REPLACE INTO incoming VALUES (?, ?, ?, ?)',
  dropIncoming: 'DELETE FROM incoming WHERE client_id = ? AND message_id = ?',
  dropAllIncoming: 'DELETE FROM incoming WHERE client_id = ?',
  putRetained: 'INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)',
  dropRetained: 'DELETE FROM retained WHERE topic = ?',
  putWill: 'INSERT OR REPLACE INTO wills VALUES (?, ?, ?, ?, ?, ?)',
  dropWill: 'DELETE FROM wills WHERE client_id = ?',
} as const;

export type SessionChangeName = keyof typeof CHANGES;
export type SessionChangeValue = string | number | Uint8Array | null;

/** Is sent to the writer's thread by structured clone. */
export interface SessionChange {
  readonly name: SessionChangeName;
  readonly values: readonly SessionChangeValue[];
}

/** Returns the function that writes a batch of changes in one transaction, in order. */
export function createChangeWriter(database: Database.Database): (changes: readonly SessionChange[]) => void {
  const statements = new Map<SessionChangeName, Database.Statement>();
  for (const [name, sql] of Object.entries(CHANGES)) statements.set(name as SessionChangeName, database.prepare(sql));
  const write = database.transaction((changes: readonly SessionChange[]) => {
    for (const { name, values } of changes) (statements.get(name) as Database.Statement).run(...values);
  });
  return (changes) => write.immediate(changes);
}

export interface SessionRows {
  readonly sessions: readonly {
    readonly client_id: string;
    readonly owner: string;
    readonly about: string;
    readonly away_since: number | null;
  }[];
  readonly subscriptions: readonly {
    readonly client_id: string;
    readonly filter: string;
    readonly qos: number;
    readonly options: string | null;
  }[];
  readonly bodies: readonly {
    readonly id: number;
    readonly topic: string;
    readonly payload: Buffer;
    readonly qos: number;
    readonly retain: number;
  }[];
  readonly queued: readonly {
    readonly id: number;
    readonly client_id: string;
    readonly body: number | null;
    readonly message_id: number | null;
  }[];
  readonly incoming: readonly {
    readonly client_id: string;
    readonly message_id: number;
    readonly topic: string;
    readonly payload: Buffer;
  }[];
  readonly retained: readonly {
    readonly topic: string;
    readonly owner: string | null;
    readonly payload: Buffer;
    readonly qos: number;
  }[];
  readonly wills: readonly {
    readonly client_id: string;
    readonly about: string | null;
    readonly topic: string;
    readonly payload: Buffer;
    readonly qos: number;
    readonly retain: number;
  }[];
}

/** Reads all rows, in the order in which they were written. */
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
