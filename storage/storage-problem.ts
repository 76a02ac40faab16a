/** What SQLite and the disk below it refused, as the rest of the house reads it. Repairs nothing, and tries nothing again. */

import { Problem } from '@rollcall/protocol';
import Database from 'better-sqlite3';

const PASSES = /^(SQLITE_(FULL|BUSY|LOCKED|IOERR|READONLY|CANTOPEN|NOMEM)|ENOSPC|EDQUOT|EMFILE|ENFILE|EIO)/;

/** Something was read that no SQLite wrote. */
export function isDamage(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'database_damaged';
  return error instanceof Database.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code);
}

/**
 * Problem `unavailable` when the same may work later, `database_damaged`, or `internal` for what is a defect of ours. What
 * neither SQLite nor the file system refused comes back as it is.
 */
export function storageProblem(error: unknown): unknown {
  if (error instanceof Problem) return error;
  const code = (error as { readonly code?: unknown }).code;
  if (typeof code !== 'string') return error;
  const reason = `${code}: ${(error as Error).message}`;
  if (isDamage(error)) return new Problem('database_damaged', { reason, cause: error });
  return new Problem(PASSES.test(code) ? 'unavailable' : 'internal', { reason, cause: error });
}
