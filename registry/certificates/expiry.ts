/**
 * Certificates and tokens that expire next, and certificates that are late to renew. Each kind has an index per list, so
 * that a page costs its own rows; counts yield to the event loop after each slice.
 */

import { setImmediate } from 'node:timers/promises';
import { expectLimit } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Steps, Transaction } from '../transaction.ts';
import {
  compareExpiryCursors,
  type ExpiringRecord,
  type ExpiryCursor,
  type ExpiryFilter,
  expiryCursor,
  LATE_FOR_MS,
  RECORDED_EXPIRING_KINDS,
  type RecordedExpiringKind,
} from './expiring-items.ts';

export interface ExpiryStore {
  /**
   * Devices, services, tokens and API keys of operators, in the order of `compareExpiryCursors`; other kinds of the filter are ignored. Omits
   * certificates that are revoked, superseded or renewed, tokens that are consumed or revoked, and keys that are revoked or of a disabled operator.
   */
  listExpiring(filter: ExpiryFilter): Promise<readonly ExpiringRecord<RecordedExpiringKind>[]>;
  /** How many of one kind end before each time. The times ascend. */
  countExpiring(kind: RecordedExpiringKind, untils: readonly number[]): Promise<readonly number[]>;
  /** How many of one kind are late to renew. */
  countLate(kind: RecordedExpiringKind): Promise<number>;
}

interface KindQuery {
  readonly from: string;
  readonly columns: string;
  readonly id: string;
  /** `late` is undefined for what nobody renews. */
  readonly at: { readonly ending: string; readonly late: string | undefined };
  /** What the indexes contain. */
  readonly indexed: string;
  /** What else has to hold. */
  readonly current: string;
}

function certificateQuery(
  holder: 'device_id' | 'service_name',
  { columns, join, follows }: { readonly columns: string; readonly join: string; readonly follows: string },
): KindQuery {
  return {
    from: `certificates AS c ${join}`,
    columns: `${columns}, c.serial AS id, c.not_before AS "notBefore", c.not_after AS "expiresAt"`,
    id: 'c.serial',
    at: { ending: 'c.not_after', late: '(c.not_after - (c.not_after - c.not_before) / 10)' },
    indexed: `c.revoked_at IS NULL AND c.${holder} IS NOT NULL AND c.superseded_at IS NULL`,
    current: `NOT EXISTS (
      SELECT 1 FROM certificates AS later
      WHERE later.${holder} = c.${holder} AND later.revoked_at IS NULL AND later.not_after > c.not_after AND ${follows})`,
  };
}

const QUERIES: Readonly<Record<RecordedExpiringKind, KindQuery>> = {
  device: certificateQuery('device_id', {
    columns: 'devices.id AS name, devices.group_name AS "group"',
    join: 'CROSS JOIN devices ON devices.id = c.device_id',
    // A device can have two valid certificates: the older one may not be superseded yet.
    follows: 'TRUE',
  }),
  service: certificateQuery('service_name', {
    columns: 'c.service_name AS name',
    join: '',
    // A service can have one on each of its machines. One that has ended is of interest while the service has no other.
    follows: '(later.parent_serial = c.serial OR c.not_after <= @now)',
  }),
  token: {
    from: 'tokens AS t',
    columns: `CASE WHEN t.device_id IS NULL THEN 'group/' || t.group_name ELSE 'device/' || t.device_id END AS name,
      t.id AS id, t.minted_at AS "notBefore", t.expires_at AS "expiresAt"`,
    id: 't.id',
    at: { ending: 't.expires_at', late: undefined },
    indexed: 't.voided_at IS NULL AND t.uses < t.max_uses',
    current: 'TRUE',
  },
  'operator-key': {
    from: 'operator_keys AS k',
    columns: 'k.operator_name AS name, k.id AS id, k.created_at AS "notBefore", k.expires_at AS "expiresAt"',
    id: 'k.id',
    at: { ending: 'k.expires_at', late: undefined },
    indexed: 'k.revoked_at IS NULL',
    current:
      'EXISTS (SELECT 1 FROM operators WHERE operators.name = k.operator_name AND operators.disabled_at IS NULL)',
  },
};

/** Greater than any id. */
const AFTER_EVERY_ID = 'g';
/** Rows that a count reads in one turn of the event loop: a few milliseconds. */
const SLICE = 250;

export function createExpiryStore(database: RegistryDatabase): ExpiryStore {
  return {
    listExpiring: async (filter) => {
      const limit = expectLimit(filter.limit);
      const kinds = RECORDED_EXPIRING_KINDS.filter((kind) => filter.kinds.includes(kind));
      const found = await database.read(function* (tx) {
        const items: ExpiringRecord<RecordedExpiringKind>[] = [];
        for (const kind of kinds) items.push(...(yield* listKind(tx, kind, { ...filter, limit })));
        return items;
      });
      const position = (item: ExpiringRecord) => expiryCursor(filter.which, item);
      return found.sort((a, b) => compareExpiryCursors(position(a), position(b))).slice(0, limit);
    },
    countExpiring: async (kind, untils) => {
      const counts: number[] = [];
      let from = { at: database.now, id: AFTER_EVERY_ID };
      for (const until of untils) {
        const inRange = await count(database, { kind, which: 'ending', from, until });
        counts.push((counts.at(-1) ?? 0) + inRange);
        if (until > from.at) from = { at: until, id: AFTER_EVERY_ID };
      }
      return counts;
    },
    countLate: async (kind) => {
      const { now } = database;
      return count(database, { kind, which: 'late', from: { at: now - LATE_FOR_MS, id: AFTER_EVERY_ID }, until: now });
    },
  };
}

function* listKind(
  tx: Transaction,
  kind: RecordedExpiringKind,
  { which, until, after, limit }: ExpiryFilter,
): Steps<readonly ExpiringRecord<RecordedExpiringKind>[]> {
  const query = QUERIES[kind];
  const at = query.at[which];
  if (at === undefined) return [];
  const range = which === 'ending' ? { from: tx.now, until } : { from: tx.now - LATE_FOR_MS, until: tx.now };
  const first = { at: range.from, id: AFTER_EVERY_ID };
  const next = after === undefined ? first : startOf(kind, after);
  const from = next.at < first.at ? first : next;
  const rows = yield* tx.all<Omit<ExpiringRecord<RecordedExpiringKind>, 'kind'>>(
    `SELECT ${query.columns} FROM ${query.from}
     WHERE ${between(query, at)} AND ${query.current}
     ORDER BY ${at}, ${query.id} LIMIT @limit`,
    { at: from.at, id: from.id, until: range.until, now: tx.now, limit },
  );
  return rows.map((row) => ({ kind, ...row }));
}

/** Where the list of one kind goes on behind a position in the list of all. */
function startOf(kind: RecordedExpiringKind, after: ExpiryCursor): { readonly at: number; readonly id: string } {
  if (kind === after.kind) return after;
  return { at: after.at, id: kind < after.kind ? AFTER_EVERY_ID : '' };
}

/** The first condition lets SQLite search an index on an expression, which it does not do for pairs. */
function between({ id, indexed }: KindQuery, at: string): string {
  return `${at} >= @at AND (${at}, ${id}) > (@at, @id) AND ${at} <= @until AND ${indexed}`;
}

/** In slices; another transaction may run between two of them. */
async function count(
  database: RegistryDatabase,
  range: {
    readonly kind: RecordedExpiringKind;
    readonly which: ExpiryFilter['which'];
    readonly from: { readonly at: number; readonly id: string };
    readonly until: number;
  },
): Promise<number> {
  const query = QUERIES[range.kind];
  const at = query.at[range.which];
  if (at === undefined) return 0;
  const where = between(query, at);
  let { from } = range;
  let total = 0;
  for (;;) {
    const [end, n] = await database.read(function* (tx) {
      const values = { at: from.at, id: from.id, until: range.until, now: tx.now };
      const last = yield* tx.get<{ at: number; id: string }>(
        `SELECT ${at} AS at, ${query.id} AS id FROM ${query.from} WHERE ${where} ORDER BY 1, 2 LIMIT 1 OFFSET ${SLICE - 1}`,
        values,
      );
      const within = last === undefined ? '' : `AND (${at}, ${query.id}) <= (@lastAt, @lastId)`;
      const counted = yield* tx.get<{ n: number }>(
        `SELECT count(*) AS n FROM ${query.from} WHERE ${where} ${within} AND ${query.current}`,
        last === undefined ? values : { ...values, lastAt: last.at, lastId: last.id },
      );
      return [last, counted?.n ?? 0] as const;
    });
    total += n;
    if (end === undefined) return total;
    from = end;
    await setImmediate();
  }
}
