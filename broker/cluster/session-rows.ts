/** Reads the rows of sessions for the node that has them now. */

import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { RetainedRow, SessionRows } from '../session-store/session-rows.ts';

const OF_CLIENTS = {
  sessions: 'SELECT client_id, owner, about, away_since, expiry FROM sessions WHERE client_id = ANY($1)',
  subscriptions: `SELECT client_id, filter, qos, no_local, retain_as_published, retain_handling, subscription_identifier
    FROM session_subscriptions WHERE client_id = ANY($1)`,
  bodies: `SELECT id, topic, payload, qos, retain, properties, expires_at, publisher FROM session_bodies
    WHERE id IN (SELECT body FROM session_queued WHERE client_id = ANY($1))`,
  queued: `SELECT id, client_id, body, packet_id, qos, retain, subscription_identifiers, share FROM session_queued
    WHERE client_id = ANY($1) ORDER BY id`,
  incoming: 'SELECT client_id, packet_id, key FROM session_incoming WHERE client_id = ANY($1)',
  wills: `SELECT client_id, about, topic, payload, qos, retain, properties, message_expiry, delay, due_at
    FROM session_wills WHERE client_id = ANY($1)`,
} as const;

/** Without retained messages, which belong to no session. */
export async function readRowsOf(database: PostgresDatabase, clientIds: readonly string[]): Promise<SessionRows> {
  return database.transaction(
    async (transaction) => {
      const all = async (name: keyof typeof OF_CLIENTS) => {
        const statement = { name: `sessions read ${name}`, text: OF_CLIENTS[name] };
        return (await transaction.query(statement, [clientIds])).rows as never;
      };
      const [sessions, subscriptions, bodies, queued, incoming, wills] = await Promise.all([
        ...[all('sessions'), all('subscriptions'), all('bodies'), all('queued'), all('incoming'), all('wills')],
      ]);
      return { sessions, subscriptions, bodies, queued, incoming, wills, retained: [] } as never as SessionRows;
    },
    { isolation: 'repeatable read' },
  );
}

const RETAINED = 'SELECT topic, owner, payload, qos, properties, expires_at, publisher FROM session_retained';
const RETAINED_OF = { name: 'sessions read retained', text: `${RETAINED} WHERE topic = ANY($1)` };

/** All of them, or those of these topics. */
export async function readRetainedRows(
  database: PostgresDatabase,
  topics?: readonly string[],
): Promise<readonly RetainedRow[]> {
  const found =
    topics === undefined
      ? await database.query<RetainedRow>(RETAINED)
      : await database.query<RetainedRow>(RETAINED_OF, [topics]);
  return found.rows;
}
