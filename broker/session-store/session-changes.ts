/**
 * Every change of the session store, by name, with its SQL statement. Each is idempotent: a
 * batch whose outcome is unknown is written again.
 */

import type Database from 'better-sqlite3';

const CHANGES = {
  putSession: 'INSERT OR REPLACE INTO sessions (client_id, owner, about, away_since, expiry) VALUES (?, ?, ?, ?, ?)',
  setAway: 'UPDATE sessions SET away_since = ? WHERE client_id = ?',
  setExpiry: 'UPDATE sessions SET expiry = ? WHERE client_id = ?',
  dropSession: 'DELETE FROM sessions WHERE client_id = ?',
  putSubscription: `INSERT OR REPLACE INTO subscriptions
    (client_id, filter, qos, no_local, retain_as_published, retain_handling, subscription_identifier)
    VALUES (?, ?, ?, ?, ?, ?, ?)`,
  dropSubscription: 'DELETE FROM subscriptions WHERE client_id = ? AND filter = ?',
  dropSubscriptions: 'DELETE FROM subscriptions WHERE client_id = ?',
  putBody: `INSERT OR REPLACE INTO bodies (id, topic, payload, qos, retain, properties, expires_at, publisher)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  dropBody: 'DELETE FROM bodies WHERE id = ?',
  putQueued: `INSERT OR REPLACE INTO queued (id, client_id, body, qos, retain, subscription_identifiers, share)
    VALUES (?, ?, ?, ?, ?, ?, ?)`,
  numberQueued: 'UPDATE queued SET packet_id = ? WHERE id = ?',
  releaseQueued: 'UPDATE queued SET body = NULL WHERE id = ?',
  dropQueued: 'DELETE FROM queued WHERE id = ?',
  putIncoming: 'INSERT OR REPLACE INTO incoming (client_id, packet_id, key) VALUES (?, ?, ?)',
  dropIncoming: 'DELETE FROM incoming WHERE client_id = ? AND packet_id = ?',
  dropAllIncoming: 'DELETE FROM incoming WHERE client_id = ?',
  putRetained: `INSERT OR REPLACE INTO retained (topic, owner, payload, qos, properties, expires_at, publisher)
    VALUES (?, ?, ?, ?, ?, ?, ?)`,
  dropRetained: 'DELETE FROM retained WHERE topic = ?',
  dropRetainedOf: 'DELETE FROM retained WHERE topic = ? AND owner = ?',
  dropExpiredRetained: 'DELETE FROM retained WHERE topic = ? AND expires_at <= ?',
  putWill: `INSERT OR REPLACE INTO wills
    (client_id, about, topic, payload, qos, retain, properties, message_expiry, delay, due_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  setWillDue: 'UPDATE wills SET due_at = ? WHERE client_id = ?',
  dropWill: 'DELETE FROM wills WHERE client_id = ?',
} as const;

export type SessionChangeName = keyof typeof CHANGES;
export type SessionChangeValue = string | number | Uint8Array | null;

/** Is sent to the writer's thread by structured clone. */
export interface SessionChange {
  readonly name: SessionChangeName;
  readonly values: readonly SessionChangeValue[];
}

/** Records a change to be written; `bytes`: the size of its values. */
export type RecordChange = (name: SessionChangeName, values: readonly SessionChangeValue[], bytes: number) => void;

/** Returns the function that writes a batch of changes in one transaction, in order. */
export function createChangeWriter(database: Database.Database): (changes: readonly SessionChange[]) => void {
  const statements = new Map<SessionChangeName, Database.Statement>();
  for (const [name, sql] of Object.entries(CHANGES)) statements.set(name as SessionChangeName, database.prepare(sql));
  const write = database.transaction((changes: readonly SessionChange[]) => {
    for (const { name, values } of changes) (statements.get(name) as Database.Statement).run(...values);
  });
  return (changes) => write.immediate(changes);
}
