/** The audit: appends entries inside the transaction of what they record, and lists, exports and verifies them. */

import { Problem } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { Transaction } from '../transaction.ts';
import { AuditChainVerifier, type AuditHead, CHAIN_START, canonicalDetails, hashEntry } from './audit-chain.ts';
import type { AuditEntry, AuditedAction, AuditStore, AuditVerification, ChainedAuditEntry } from './audit-store.ts';
import { type AuditRow, findAuditEntries } from './find-audit-entries.ts';
import { originDetails } from './request-origin.ts';

export interface NewAuditEntry {
  readonly actor: Actor;
  readonly action: string;
  readonly subject: string;
  readonly details?: AuditEntry['details'];
}

/** Refusals recorded per subject and window: enough to show an attack, too few to fill the disk. */
const REFUSALS_PER_WINDOW = 32;
const REFUSAL_WINDOW_MS = 3_600_000;

const MAX_PAGE = 10_000;

/** Noun, dot, past participle; a noun may have two parts. */
const ACTION = /^[a-z]+(\.[a-z_]+){1,2}$/;
const SUBJECT = /^[a-z]+\/[^\p{Cc}]{1,256}$/u;
const MAX_DETAILS = 32;
const MAX_DETAILS_LENGTH = 65_536 + 1_024;

/** Entries verified per turn of the event loop. */
const VERIFIED_PER_TURN = 500;

export function createAuditStore(database: RegistryDatabase): AuditStore {
  return {
    listAudit: async (filter) =>
      (await findAuditEntries(database, { ...filter, limit: expectLimit(filter.limit) })).map(readRow),
    exportAudit: async (page) => exportAudit(database, page),
    verifyAudit: async (expected) => verifyAudit(database, expected),
    recordAction: async (action) => recordAction(database, action),
  };
}

/** Records the action of another module. Returns the id of its entry, 0 for a refusal over the limit. */
function recordAction(database: RegistryDatabase, action: AuditedAction): number {
  const details = action.details ?? {};
  const values = Object.values(details);
  const isValid =
    ACTION.test(action.action) &&
    SUBJECT.test(action.subject) &&
    values.length <= MAX_DETAILS &&
    values.every((value) => typeof value === 'string' || Number.isFinite(value));
  if (!isValid) {
    throw new Problem('internal', { reason: `expected an action to record, found ${action.action.slice(0, 64)}` });
  }
  return database.write((tx) => (action.outcome === 'refused' ? recordRefused(tx, action) : recordDone(tx, action)));
}

/** Returns the id of the entry. */
export function recordDone(tx: Transaction, line: NewAuditEntry): number {
  return append(tx, line, 'done');
}

/** Whether the next refusal of this subject would be recorded. One indexed read: refusals may come in a flood. */
export function hasRoomForRefusal(tx: Transaction, subject: string): boolean {
  const found = tx.get<{ kept: number }>(
    `SELECT count(*) AS kept FROM (
       SELECT 1 FROM audit WHERE outcome = 'refused' AND subject = @subject AND at > @since LIMIT @most
     )`,
    { subject, since: tx.now - REFUSAL_WINDOW_MS, most: REFUSALS_PER_WINDOW },
  );
  return found === undefined || found.kept < REFUSALS_PER_WINDOW;
}

/** Records the refusal; returns 0 when the subject has {@link REFUSALS_PER_WINDOW} of the last hour already. */
export function recordRefused(tx: Transaction, line: NewAuditEntry): number {
  return hasRoomForRefusal(tx, line.subject) ? append(tx, line, 'refused') : 0;
}

/** Oldest first, each with the hash of the one before it. */
function exportAudit(
  database: RegistryDatabase,
  page: { readonly after?: number; readonly limit: number },
): readonly ChainedAuditEntry[] {
  const limit = expectLimit(page.limit);
  const after = page.after ?? 0;
  return database.read((tx) => {
    let previous = hashOf(tx, after);
    return entriesAfter(tx, after, limit).map((row) => {
      const entry = { ...readRow(row), previous };
      previous = row.hash;
      return entry;
    });
  });
}

export function auditHead(database: RegistryDatabase): AuditHead {
  return database.read(headOf);
}

/** Verifies the entries that exist when it starts, a few per turn. */
async function verifyAudit(database: RegistryDatabase, expected: AuditHead | undefined): Promise<AuditVerification> {
  const check = new AuditChainVerifier(expected);
  // SQLite stores the highest id that it gave out: it shows that entries were removed from the end.
  const last = database.read(
    (tx) => tx.get<{ seq: number }>(`SELECT seq FROM sqlite_sequence WHERE name = 'audit'`, {})?.seq ?? 0,
  );
  while (check.fault === undefined) {
    const rows = database.read((tx) => entriesAfter(tx, check.head.id, VERIFIED_PER_TURN));
    for (const row of rows) if (row.id <= last) check.add(row);
    if (rows.length < VERIFIED_PER_TURN) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  check.finish(last);
  return { entries: check.entries, head: check.head, fault: check.fault };
}

function entriesAfter(tx: Transaction, after: number, limit: number): readonly AuditRow[] {
  return tx.all<AuditRow>('SELECT * FROM audit WHERE id > @after ORDER BY id LIMIT @limit', { after, limit });
}

function hashOf(tx: Transaction, id: number): string {
  return tx.get<AuditHead>('SELECT id, hash FROM audit WHERE id = @id', { id })?.hash ?? CHAIN_START;
}

function headOf(tx: Transaction): AuditHead {
  const found = tx.get<AuditHead>('SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1', {});
  return found ?? { id: 0, hash: CHAIN_START };
}

function readRow(row: AuditRow): AuditEntry {
  return { ...row, details: JSON.parse(row.details) as AuditEntry['details'] };
}

/** A page's length: 1 to 10,000. */
export function expectLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE) return limit;
  throw new Problem('request_invalid', { detail: `expected a limit of 1 to ${MAX_PAGE}, found ${Number(limit)}` });
}

function append(tx: Transaction, line: NewAuditEntry, outcome: AuditEntry['outcome']): number {
  const { actor, action, subject } = line;
  const details = canonicalDetails({ ...line.details, ...originDetails(actor) });
  if (details.length > MAX_DETAILS_LENGTH)
    throw new Problem('internal', { reason: `details of ${action} are too long` });
  const head = headOf(tx);
  const entry = { id: head.id + 1, at: tx.now, actor, action, subject, outcome, details };
  tx.run(
    `INSERT INTO audit (id, at, actor, action, subject, outcome, details, hash)
     VALUES (@id, @at, @actor, @action, @subject, @outcome, @details, @hash)`,
    { ...entry, hash: hashEntry(head.hash, entry) },
  );
  return entry.id;
}

/** A time in the details of an entry, ISO 8601, for human readers. */
export function auditTime(at: number): string {
  return new Date(at).toISOString();
}
