/**
 * Finds a page of audit entries, newest first. Reads ids from one index in their order and tests each entry for what that index does not
 * contain. Works in slices of at most 1,000 entries with a turn of the event loop between them, so that no page delays the broker for
 * longer than a slice takes.
 */

import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { SqlParameters, SqlValue, Steps, Transaction } from '../transaction.ts';
import type { AuditEntry, AuditFilter } from './audit-store.ts';

/** `details` is JSON text. */
export interface AuditRow {
  readonly id: number;
  readonly at: number;
  readonly actor: Actor;
  readonly action: string;
  readonly subject: string;
  readonly outcome: AuditEntry['outcome'];
  readonly details: string;
  readonly hash: string;
}

/** Entries tested per turn of the event loop. */
const SLICE = 1_000;
const FIRST_SLICE = 128;
/** A range of times with so few entries bounds their ids. */
const FEW = 10_000;

/** Of exact values, the one that the fewest entries are expected to have comes first. */
export const ORDERED_SOURCES = {
  subject: 'SELECT id FROM audit INDEXED BY audit_by_subject WHERE subject = @subject AND id BETWEEN @least AND @most',
  action: 'SELECT id FROM audit INDEXED BY audit_by_action WHERE action = @action AND id BETWEEN @least AND @most',
  actor: 'SELECT id FROM audit INDEXED BY audit_by_actor WHERE actor = @actor AND id BETWEEN @least AND @most',
  every: 'SELECT id FROM audit WHERE id BETWEEN @least AND @most',
} as const;

export const IDS_OF_TIMES = `SELECT min(id) AS least, max(id) AS most, count(*) AS entries FROM (
  SELECT id FROM audit INDEXED BY audit_by_time WHERE at >= @since AND at < @until LIMIT ${FEW + 1}
) AS within`;

/** Expects a limit of 1 to 10,000. */
export async function findAuditEntries(database: RegistryDatabase, filter: AuditFilter): Promise<readonly AuditRow[]> {
  const { limit } = filter;
  const { source, conditions, parameters } = planOf(filter);
  let { least, most } = await database.read((tx) => boundsOf(tx, filter));
  const found: AuditRow[] = [];
  let slice = conditions.length === 0 ? limit : Math.min(SLICE, Math.max(FIRST_SLICE, limit));
  const test = [
    'SELECT audit.* FROM json_each(@ids) AS wanted CROSS JOIN audit ON audit.id = CAST(wanted.value AS BIGINT)',
    'TRUE',
  ];
  const sql = [test.join(' WHERE '), ...conditions, 'TRUE ORDER BY audit.id DESC LIMIT @rest'].join(' AND ');
  while (found.length < limit && least <= most) {
    const page = { ...parameters, least, most, slice };
    const rows = await database.read(function* (tx) {
      const ids = (yield* tx.all<{ id: number }>(`${source} ORDER BY id DESC LIMIT @slice`, page)).map(({ id }) => id);
      most = ids.length < slice ? 0 : (ids.at(-1) as number) - 1;
      return yield* tx.all<AuditRow>(sql, { ...parameters, ids: JSON.stringify(ids), rest: limit - found.length });
    });
    found.push(...rows);
    slice = Math.min(SLICE, 2 * slice);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return found;
}

interface Plan {
  readonly source: string;
  /** What the entries of the source are tested for. */
  readonly conditions: readonly string[];
  readonly parameters: SqlParameters;
}

function planOf(filter: AuditFilter): Plan {
  const { outcome, since, until } = filter;
  const conditions: string[] = [];
  const parameters: Record<string, SqlValue> = {};
  let source: string = ORDERED_SOURCES.every;
  for (const column of ['subject', 'action', 'actor'] as const) {
    const value = filter[column];
    if (value === undefined) continue;
    const separator = column === 'action' ? '.' : '/';
    if (!value.includes(separator)) {
      // The separator, and the character after it: every value that begins with this kind is between them.
      conditions.push(`audit.${column} > @${column} AND audit.${column} < @${column}End`);
      parameters[column] = value + separator;
      parameters[`${column}End`] = value + String.fromCharCode(separator.charCodeAt(0) + 1);
      continue;
    }
    parameters[column] = value;
    if (source === ORDERED_SOURCES.every) source = ORDERED_SOURCES[column];
    else conditions.push(`audit.${column} = @${column}`);
  }
  const add = (name: string, condition: string, value: SqlValue | undefined) => {
    if (value === undefined) return;
    conditions.push(condition);
    parameters[name] = value;
  };
  add('outcome', 'audit.outcome = @outcome', outcome);
  add('since', 'audit.at >= @since', since);
  add('until', 'audit.at < @until', until);
  return { source, conditions, parameters };
}

/** The ids that can match. Ids do not follow the times of their entries where the clock was set back. */
function* boundsOf(
  tx: Transaction,
  { before, since, until }: AuditFilter,
): Steps<{ readonly least: number; readonly most: number }> {
  const most = (before ?? Number.MAX_SAFE_INTEGER) - 1;
  if (since === undefined && until === undefined) return { least: 1, most };
  const range = { since: since ?? Number.MIN_SAFE_INTEGER, until: until ?? Number.MAX_SAFE_INTEGER };
  const found = yield* tx.get<{ least: number | null; most: number | null; entries: number }>(IDS_OF_TIMES, range);
  if (found === undefined || found.entries > FEW) return { least: 1, most };
  return { least: found.least ?? 1, most: Math.min(most, found.most ?? 0) };
}
