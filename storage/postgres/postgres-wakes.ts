/**
 * Wakes over LISTEN and NOTIFY, on one connection of its own. The only file that uses them. NOTIFY is not part of the transactions that
 * write: there it would hold a lock of the whole server during their commits.
 */

import { RemoteWakes, type RemoteWakesOptions, type WakeCarrier } from '../remote-wakes.ts';
import type { PostgresDatabase } from './database.ts';
import { postgresProblem } from './postgres-problem.ts';

export interface PostgresWakesOptions extends RemoteWakesOptions {
  readonly database: PostgresDatabase;
}

/** The name of the schema separates fleets in one database. */
const NOTIFY = { name: 'notify', text: 'SELECT pg_notify($1, channel) FROM unnest($2::text[]) AS channel' };

export class PostgresWakes extends RemoteWakes {
  constructor({ database, ...options }: PostgresWakesOptions) {
    super(carrierOver(database), options);
  }
}

function carrierOver(database: PostgresDatabase): WakeCarrier {
  return async (receive) => {
    try {
      const connection = await database.connect();
      const lost = new Promise<unknown>((resolve) => connection.onLost(resolve));
      connection.onNotification((channel, isOwn) => {
        // Listeners of this node were woken by `wake` itself.
        if (!isOwn) receive(channel);
      });
      await connection.query(`LISTEN "${database.schema}"`);
      return {
        send: (channels) => connection.query(NOTIFY, [database.schema, channels]),
        lost,
        close: () => connection.close(),
      };
    } catch (error) {
      throw postgresProblem(error);
    }
  };
}
