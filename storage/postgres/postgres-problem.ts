/** Turns errors of PostgreSQL, of `pg` and of sockets into Problems, and says which of them may pass. Repairs and retries nothing. */

import { Problem } from '@rollcall/protocol';
import pg from 'pg';

/** serialization_failure and deadlock_detected: the transaction had no effect, and may succeed when it is repeated. */
const CONFLICTS = /^40(001|P01)$/;
/** Connection exceptions, and operator intervention other than query_canceled. */
const CONNECTION_LOST = /^(08|57P0[1-5])/;
/** read_only_sql_transaction: the server became a standby. */
const READ_ONLY = '25006';
/** idle_in_transaction_session_timeout, transaction_timeout: the server ended the session, and rolled its transaction back. */
const TRANSACTION_ENDED = /^25P0[34]/;
/** The server lacks something now, or was asked to stop waiting: insufficient resources, lock_not_available, query_canceled, I/O. */
const TRANSIENT = /^(53|55P03|57014|58)/;
const ACCESS_REFUSED = /^(28|3D000|3F000|42501)/;
/** invalid_schema_name, also where the role may not use the schema. */
const NO_SCHEMA = '3F000';
const DAMAGED = /^XX00[12]$/;

/** An error of a certificate, as Node names what OpenSSL says of it, and an alert of the server about ours. */
const UNTRUSTED =
  /^(CERT_|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|INVALID_|PATH_LENGTH_EXCEEDED|ERR_TLS_CERT_ALTNAME_INVALID)|SSLV3_ALERT_|TLSV1_ALERT_UNKNOWN_CA|TLSV13_ALERT_CERTIFICATE/;

/** What `pg` says of a server that asks for a password when it has none. */
const PASSWORD_MISSING = /client password must be a string/;

/**
 * The server has not confirmed a change: the connection was lost after COMMIT was sent (Problem `outcome_unknown`), or the commit
 * ended its wait for the standbys before enough of them had it (Problem `unavailable`). It may be stored and it may be visible, and
 * a failover may undo it. Only what can be repeated without a second effect may be repeated.
 */
export class UnconfirmedCommit extends Problem {
  readonly why: 'connection lost' | 'quorum lost';

  constructor(why: UnconfirmedCommit['why'], reason: string, cause?: unknown) {
    super(why === 'quorum lost' ? 'unavailable' : 'outcome_unknown', { reason, cause });
    this.why = why;
  }
}

/** The same transaction may succeed when it is repeated. */
export function isConflict(error: unknown): boolean {
  return CONFLICTS.test(sqlstateOf(error));
}

/** The connection can no longer be used; the same may work on another one. */
export function isConnectionLost(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) {
    return CONNECTION_LOST.test(error.code ?? '') || isConnectionStale(error);
  }
  // Errors of sockets, of TLS and of `pg`; the others are about a value.
  return error instanceof Error && !(error instanceof Problem || isAboutValue(error));
}

/** The statement had no effect, because of its connection: the server refused it, or had ended the transaction before. */
export function isConnectionStale(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false;
  // A statement that was prepared before a migration; a new connection prepares it anew.
  const isOldPlan = error.code === '0A000' && error.routine === 'RevalidateCachedQuery';
  return isOldPlan || error.code === READ_ONLY || TRANSACTION_ENDED.test(error.code ?? '');
}

/** unique_violation; with the name of the constraint or index, of that one alone. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  const found = databaseErrorOf(error);
  return found?.code === '23505' && (constraint === undefined || found.constraint === constraint);
}

/** The SQLSTATE of an error or of the cause of a Problem; empty without one. */
export function sqlstateOf(error: unknown): string {
  return databaseErrorOf(error)?.code ?? '';
}

/**
 * Problem `unavailable` when the same may work later, `database_access_refused`, `database_untrusted`, `database_damaged`, or `internal`
 * for a defect of the server. Other errors than those of the database and of sockets are returned unchanged.
 */
export function postgresProblem(error: unknown): unknown {
  if (error instanceof Problem || !(error instanceof Error) || isAboutValue(error)) return error;
  const options = { reason: reasonOf(error), cause: error };
  if (!(error instanceof pg.DatabaseError)) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (UNTRUSTED.test(code)) return new Problem('database_untrusted', options);
    // `pg` says so of a password that is missing and of a server that does not know it.
    if (error.message.startsWith('SASL: ')) return new Problem('database_access_refused', options);
    return new Problem('unavailable', options);
  }
  const { code = '' } = error;
  if (code === NO_SCHEMA) {
    return new Problem('database_access_refused', {
      ...options,
      hint: 'give the role of store.url the schema that store.schema names',
    });
  }
  if (ACCESS_REFUSED.test(code)) return new Problem('database_access_refused', options);
  if (DAMAGED.test(code)) return new Problem('database_damaged', options);
  const mayPass = isConflict(error) || isConnectionLost(error) || TRANSIENT.test(code);
  return new Problem(mayPass ? 'unavailable' : 'internal', options);
}

function isAboutValue(error: Error): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError;
}

function databaseErrorOf(error: unknown): pg.DatabaseError | undefined {
  const found = error instanceof Problem ? error.cause : error;
  return found instanceof pg.DatabaseError ? found : undefined;
}

/** Messages about data (class 22) repeat the data, which may be secret: of them the code alone. */
function reasonOf(error: Error): string {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code.startsWith('22') && error instanceof pg.DatabaseError) return `${code} in ${error.routine ?? 'a statement'}`;
  if (PASSWORD_MISSING.test(error.message)) return 'it asks for a password, and none is configured (passwordFile)';
  // Node says of a name with several addresses that none answered by a code alone; other messages of sockets begin with their call and code.
  return [code, error.message]
    .filter((part, index) => part !== '' && (index > 0 || !error.message.includes(code)))
    .join(': ');
}
