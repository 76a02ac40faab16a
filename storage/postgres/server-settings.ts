/**
 * What a server has to be and how it has to be set, so that a confirmed commit survives: checked at the start of each connection, for a
 * failover can lead to a server with other settings. Reads them as any role may.
 */

import { Problem, parseDecimal } from '@rollcall/protocol';

/** As `server_version_num` writes 15.0. */
const OLDEST_VERSION = 150_000;

/** A row of `SERVER_SETTINGS`. An engine that lacks a setting has null. */
export interface ServerSettings {
  readonly version: string;
  /** Of the session that asks. */
  readonly process: number;
  readonly read_only: string;
  readonly synchronous_commit: string;
  readonly fsync: string | null;
  readonly full_page_writes: string | null;
  readonly synchronous_standby_names: string | null;
  /** Its log has timelines and places, and its transactions outcomes (confirmed-commits.ts). */
  readonly numbers_its_log: boolean;
}

export const SERVER_SETTINGS = `SELECT current_setting('server_version_num') AS version,
  pg_backend_pid() AS process,
  current_setting('transaction_read_only') AS read_only,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('fsync', true) AS fsync,
  current_setting('full_page_writes', true) AS full_page_writes,
  current_setting('synchronous_standby_names', true) AS synchronous_standby_names,
  to_regprocedure('pg_xact_status(xid8)') IS NOT NULL AND to_regprocedure('pg_last_wal_replay_lsn()') IS NOT NULL AS numbers_its_log`;

/**
 * `standbys`: how many have to confirm each commit, at least. Throws Problem `database_server_unsupported` or
 * `database_settings_refused`, which names the setting, what was found and what to do.
 */
export function expectServerSettings(found: ServerSettings, standbys: number): void {
  if (parseDecimal(found.version, OLDEST_VERSION) === undefined) {
    throw new Problem('database_server_unsupported', {
      reason: `expected PostgreSQL 15 or newer, found ${found.version}`,
    });
  }
  for (const name of ['fsync', 'full_page_writes'] as const) {
    if (found[name] === 'off') throw refused(name, 'on', 'off', `set ${name} = on in postgresql.conf and reload`);
  }
  const { synchronous_commit: commit } = found;
  if (commit === 'off' || commit === 'local') {
    const hint = 'set synchronous_commit = on for the server, the database and the role, or remove it there';
    throw refused('synchronous_commit', 'on', commit, hint);
  }
  const names = found.synchronous_standby_names ?? '';
  if (demandedStandbys(names) < standbys) {
    throw refused(
      'synchronous_standby_names',
      `a list that demands ${standbys} ${standbys === 1 ? 'standby' : 'standbys'}`,
      names === '' ? 'none' : names,
      `set synchronous_standby_names = 'ANY ${standbys} (…)' with the names of the standbys, or let Patroni set it ` +
        `(synchronous_mode, synchronous_node_count: ${standbys})`,
    );
  }
}

/** How many standbys confirm each commit with this `synchronous_standby_names` (PostgreSQL, "Replication"). */
export function demandedStandbys(names: string): number {
  const text = names.trim();
  if (text === '') return 0;
  const [, count] = /^(?:(?:FIRST|ANY)\s+)?(\d+)\s*\(/i.exec(text) ?? [];
  // A list without a number waits for the first one.
  return count === undefined ? 1 : (parseDecimal(count, 0) ?? 0);
}

function refused(setting: string, expected: string, found: string, hint: string): Problem {
  return new Problem('database_settings_refused', {
    reason: `expected ${setting} to be ${expected}, found ${found}: a crash could undo what was confirmed`,
    hint,
  });
}
