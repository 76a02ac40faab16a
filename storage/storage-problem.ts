/** Turns errors of SQLite and the file system into Problems. Repairs and retries nothing. */

import { Problem } from '@rollcall/protocol';
import Database from 'better-sqlite3';

const TRANSIENT = /^(SQLITE_(FULL|BUSY|LOCKED|IOERR|READONLY|CANTOPEN|NOMEM)|ENOSPC|EDQUOT|EMFILE|ENFILE|EIO)/;

/** The file holds something that SQLite did not write. */
export function isDamage(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'database_damaged';
  return error instanceof Database.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code);
}

/**
 * Problem `unavailable` when the same may work later, `database_damaged`, or `internal` for a defect of the server.
 * Other errors are returned unchanged.
 */
export function storageProblem(error: unknown): unknown {
  if (error instanceof Problem) return error;
  const code = (error as { readonly code?: unknown }).code;
  if (typeof code !== 'string') return error;
  const reason = `${code}: ${(error as Error).message}`;
  if (isDamage(error)) return new Problem('database_damaged', { reason, cause: error });
  return new Problem(TRANSIENT.test(code) ? 'unavailable' : 'internal', { reason, cause: error });
}
