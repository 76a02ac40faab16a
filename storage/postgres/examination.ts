/** What an operator wants to know of the server that is the primary: asks it, and changes nothing. */

import type { PostgresDatabase } from './database.ts';
import { type ClockSkew, measureClockSkew } from './database-clock.ts';
import { demandedStandbys } from './server-settings.ts';

export interface PostgresExamination {
  /** `15.19 (Debian 15.19-0+deb12u1)` */
  readonly version: string;
  /** `TLSv1.3`; undefined for a connection in plaintext. */
  readonly tls: string | undefined;
  /** That confirm each commit. */
  readonly demandedStandbys: number;
  readonly connectedStandbys: number;
  /** Of the standby that is furthest behind, ms; undefined where the role may not read it, or nothing is written. */
  readonly lagMs: number | undefined;
  /** Of the database. */
  readonly bytes: number;
  readonly clock: ClockSkew;
}

interface Row {
  readonly version: string;
  readonly names: string;
  readonly tls: string | null;
  readonly standbys: number;
  readonly lag: number | null;
  readonly bytes: number;
}

const ASK = `SELECT current_setting('server_version') AS version,
  coalesce(current_setting('synchronous_standby_names', true), '') AS names,
  (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls,
  (SELECT count(*) FROM pg_stat_replication) AS standbys,
  (SELECT (extract(epoch FROM max(replay_lag)) * 1000)::bigint FROM pg_stat_replication) AS lag,
  pg_database_size(current_database()) AS bytes`;

/** Throws what the database throws. */
export async function examinePostgres(database: PostgresDatabase, now: () => number): Promise<PostgresExamination> {
  await database.check();
  // What a connection says of itself is for the role that logged in: one that acts as another role does not see it.
  const asked = database.transaction(
    async (transaction) => {
      void transaction.query('SET LOCAL ROLE NONE').catch(() => {});
      return transaction.query<Row>(ASK);
    },
    { isReading: true },
  );
  const [{ rows }, clock] = await Promise.all([asked, measureClockSkew(database, now)]);
  const { version, names, tls, standbys, lag, bytes } = rows[0] as Row;
  return {
    ...{ version, bytes, clock },
    tls: tls ?? undefined,
    demandedStandbys: demandedStandbys(names),
    connectedStandbys: standbys,
    lagMs: lag ?? undefined,
  };
}
