/** The audit: appends entries inside the transaction of what they record, and lists, exports and verifies them. */

import { Problem } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { SqlValue, Steps, Transaction } from '../transaction.ts';
import {
  AuditChainVerifier,
  type AuditHead,
  CHAIN_START,
  canonicalDetails,
  hashEntry,
  type StoredAuditEntry,
} from './audit-chain.ts';
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
async function recordAction(database: RegistryDatabase, action: AuditedAction): Promise<number> {
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
  const entry = checkedEntry(action, action.outcome);
  return database.write((tx) => append(tx, [entry]));
}

/**
 * Entries are appended as the last statements of a transaction, in the order in which they were recorded: on PostgreSQL the head of
 * the chain is locked from there to the commit, and one chain means that no two transactions do this at a time.
 */
export function recordDone(tx: Transaction, line: NewAuditEntry): void {
  appendLast(tx, checkedEntry(line, 'done'));
}

/** Records the refusal, unless the subject has {@link REFUSALS_PER_WINDOW} of the last hour already. */
export function recordRefused(tx: Transaction, line: NewAuditEntry): void {
  appendLast(tx, checkedEntry(line, 'refused'));
}

/** Records a refusal in a transaction of its own. Over the limit it costs one indexed read: refusals may come in a flood. */
export async function recordRefusedAlone(database: RegistryDatabase, line: NewAuditEntry): Promise<void> {
  if (!(await database.read((tx) => hasRoomForRefusal(tx, line.subject)))) return;
  const entry = checkedEntry(line, 'refused');
  await database.write((tx) => append(tx, [entry]));
}

/** Whether the next refusal of this subject would be recorded. */
function* hasRoomForRefusal(tx: Transaction, subject: string): Steps<boolean> {
  const found = yield* tx.get<{ kept: number }>(
    `SELECT count(*) AS kept FROM (
       SELECT 1 FROM audit WHERE outcome = 'refused' AND subject = @subject AND at > @since LIMIT @most
     ) AS kept`,
    { subject, since: tx.now - REFUSAL_WINDOW_MS, most: REFUSALS_PER_WINDOW },
  );
  return found === undefined || found.kept < REFUSALS_PER_WINDOW;
}

/** Oldest first, each with the hash of the one before it. */
async function exportAudit(
  database: RegistryDatabase,
  page: { readonly after?: number; readonly limit: number },
): Promise<readonly ChainedAuditEntry[]> {
  const limit = expectLimit(page.limit);
  const after = page.after ?? 0;
  return database.read(function* (tx) {
    let previous = yield* hashOf(tx, after);
    return (yield* entriesAfter(tx, after, limit)).map((row) => {
      const entry = { ...readRow(row), previous };
      previous = row.hash;
      return entry;
    });
  });
}

export async function auditHead(database: RegistryDatabase): Promise<AuditHead> {
  return database.read(headOf);
}

/** Whether there is an entry with this id and hash; there always is one before the first. */
export async function hasAuditEntry(database: RegistryDatabase, { id, hash }: AuditHead): Promise<boolean> {
  return (await database.read((tx) => hashOf(tx, id))) === hash;
}

/** Verifies the entries that exist when it starts, a few per turn. */
async function verifyAudit(database: RegistryDatabase, expected: AuditHead | undefined): Promise<AuditVerification> {
  const check = new AuditChainVerifier(expected);
  // SQLite stores the highest id that it gave out: it shows that entries were removed from the end.
  const last = await database.read(function* (tx) {
    return (yield* tx.get<{ seq: number }>(`SELECT seq FROM sqlite_sequence WHERE name = 'audit'`, {}))?.seq ?? 0;
  });
  while (check.fault === undefined) {
    const rows = await database.read((tx) => entriesAfter(tx, check.head.id, VERIFIED_PER_TURN));
    for (const row of rows) if (row.id <= last) check.add(row);
    if (rows.length < VERIFIED_PER_TURN) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  check.finish(last);
  return { entries: check.entries, head: check.head, fault: check.fault };
}

function* entriesAfter(tx: Transaction, after: number, limit: number): Steps<readonly AuditRow[]> {
  return yield* tx.all<AuditRow>('SELECT * FROM audit WHERE id > @after ORDER BY id LIMIT @limit', { after, limit });
}

function* hashOf(tx: Transaction, id: number): Steps<string> {
  return (yield* tx.get<AuditHead>('SELECT id, hash FROM audit WHERE id = @id', { id }))?.hash ?? CHAIN_START;
}

function* headOf(tx: Transaction): Steps<AuditHead> {
  const found = yield* tx.get<AuditHead>('SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1', {});
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

type UnchainedEntry = Omit<StoredAuditEntry, 'id' | 'at'>;

/** Throws Problem `internal` for details that are too long. */
function checkedEntry(
  { actor, action, subject, details }: NewAuditEntry,
  outcome: AuditEntry['outcome'],
): UnchainedEntry {
  const text = canonicalDetails({ ...details, ...originDetails(actor) });
  if (text.length > MAX_DETAILS_LENGTH) throw new Problem('internal', { reason: `details of ${action} are too long` });
  return { actor, action, subject, outcome, details: text };
}

const entriesOf = new WeakMap<Transaction, UnchainedEntry[]>();

function appendLast(tx: Transaction, entry: UnchainedEntry): void {
  const earlier = entriesOf.get(tx);
  if (earlier !== undefined) {
    earlier.push(entry);
    return;
  }
  const entries = [entry];
  entriesOf.set(tx, entries);
  tx.beforeCommit(() => append(tx, entries));
}

/** The newest entry, after which no other transaction can append one: on PostgreSQL a row that is locked until the commit. */
const HEAD_TO_APPEND = 'SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1 /* to append */';

/** Returns the id of the last one; 0 for a refusal over the limit. */
function* append(tx: Transaction, unchained: readonly UnchainedEntry[]): Steps<number> {
  let head = (yield* tx.get<AuditHead>(HEAD_TO_APPEND, {})) ?? { id: 0, hash: CHAIN_START };
  const entries: AuditRow[] = [];
  let last = 0;
  for (const line of unchained) {
    last = 0;
    if (line.outcome === 'refused' && !(yield* hasRoomForRefusal(tx, line.subject))) continue;
    const entry = { ...line, id: head.id + 1, at: tx.now };
    head = { id: entry.id, hash: hashEntry(head.hash, entry) };
    entries.push({ ...entry, hash: head.hash });
    last = entry.id;
  }
  yield* insert(tx, entries);
  return last;
}

/** Entries of one statement: revocations of many devices have some hundred. */
const TOGETHER = [50, 10, 1];

function* insert(tx: Transaction, entries: readonly AuditRow[]): Steps<void> {
  let from = 0;
  for (const size of TOGETHER) {
    for (; entries.length - from >= size; from += size) {
      const values: Record<string, SqlValue> = {};
      for (const [index, entry] of entries.slice(from, from + size).entries()) {
        for (const column of COLUMNS) values[nameOf(column, size - 1 - index)] = entry[column];
      }
      yield* tx.run(insertText(size), values);
    }
  }
}

const COLUMNS = ['id', 'at', 'actor', 'action', 'subject', 'outcome', 'details', 'hash'] as const;

/** `fromLast`: entries that follow in the statement. The head of the chain becomes `@id` and `@hash`, those of the last. */
function nameOf(column: (typeof COLUMNS)[number], fromLast: number): string {
  return fromLast === 0 ? column : `${column}${fromLast}`;
}

function insertText(size: number): string {
  const rows = Array.from({ length: size }, (_, index) => {
    const names = COLUMNS.map((column) => `@${nameOf(column, size - 1 - index)}`);
    return `(${names.join(', ')})`;
  });
  return `INSERT INTO audit (${COLUMNS.join(', ')}) VALUES ${rows.join(', ')}`;
}

/** A time in the details of an entry, ISO 8601, for human readers. */
export function auditTime(at: number): string {
  return new Date(at).toISOString();
}
