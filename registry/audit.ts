/**
 * The audit: who did what to what, written in the transaction that did it, never changed afterwards.
 * Details hold names, numbers and reasons; never a secret, a key or a payload.
 */

import { Problem } from '../contract/problem.ts';
import type { RegistryDatabase } from './database.ts';
import type { Actor, AuditEntry } from './registry.ts';
import type { Transaction } from './transaction.ts';

export interface AuditLine {
  readonly actor: Actor;
  readonly action: string;
  readonly subject: string;
  readonly details?: AuditEntry['details'];
}

/** Refusals kept per subject and window: enough to see an attack, too few for it to fill the disk. */
export const REFUSALS_KEPT = 32;
export const REFUSAL_WINDOW_MS = 3_600_000;

const LONGEST_PAGE = 10_000;

interface AuditRow {
  readonly id: number;
  readonly at: number;
  readonly actor: Actor;
  readonly action: string;
  readonly subject: string;
  readonly outcome: AuditEntry['outcome'];
  readonly details: string;
}

export function recordDone(tx: Transaction, line: AuditLine): void {
  append(tx, line, 'done');
}

/** Whether the next refusal of this subject would still be written down. Cheap, so that a flood of refusals is. */
export function keepsRefusal(tx: Transaction, subject: string): boolean {
  const found = tx.get<{ kept: number }>(
    `SELECT count(*) AS kept FROM (
       SELECT 1 FROM audit WHERE outcome = 'refused' AND subject = @subject AND at > @since LIMIT @most
     )`,
    { subject, since: tx.now - REFUSAL_WINDOW_MS, most: REFUSALS_KEPT },
  );
  return found === undefined || found.kept < REFUSALS_KEPT;
}

/** Writes the refusal down, unless its subject was refused {@link REFUSALS_KEPT} times in the last hour. */
export function recordRefused(tx: Transaction, line: AuditLine): void {
  if (keepsRefusal(tx, line.subject)) append(tx, line, 'refused');
}

/** Newest first. Throws Problem `request_invalid` for a limit outside 1 to 10,000. */
export function listAudit(
  database: RegistryDatabase,
  page: { readonly before?: number; readonly limit: number },
): readonly AuditEntry[] {
  const limit = expectLimit(page.limit);
  const rows = database.read((tx) =>
    tx.all<AuditRow>('SELECT * FROM audit WHERE id < @before ORDER BY id DESC LIMIT @limit', {
      before: page.before ?? Number.MAX_SAFE_INTEGER,
      limit,
    }),
  );
  return rows.map((row) => ({ ...row, details: JSON.parse(row.details) as AuditEntry['details'] }));
}

/** A page's length: 1 to 10,000. */
export function expectLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= LONGEST_PAGE) return limit;
  throw new Problem('request_invalid', { detail: `expected a limit of 1 to ${LONGEST_PAGE}, found ${Number(limit)}` });
}

function append(tx: Transaction, line: AuditLine, outcome: AuditEntry['outcome']): void {
  tx.run(
    `INSERT INTO audit (at, actor, action, subject, outcome, details)
     VALUES (@at, @actor, @action, @subject, @outcome, @details)`,
    {
      at: tx.now,
      actor: line.actor,
      action: line.action,
      subject: line.subject,
      outcome,
      details: JSON.stringify(line.details ?? {}),
    },
  );
}

/** A time in the details of an entry, ISO 8601: details are read by people. */
export function auditTime(at: number): string {
  return new Date(at).toISOString();
}
