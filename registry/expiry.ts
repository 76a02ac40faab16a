import type { DeviceId, GroupName } from '@rollcall/protocol';
import { expectLimit } from './audit.ts';
import type { RegistryDatabase } from './database.ts';
import type { Transaction } from './transaction.ts';

export interface ExpiryFilter {
  /** `ending`: expires before `until`. `late`: nine tenths of its life are over, for 90 days at most. */
  readonly which: 'ending' | 'late';
  /** For `ending`, milliseconds since the epoch. */
  readonly until: number;
  /** The last one of the page before. */
  readonly after?: { readonly at: number; readonly serial: string } | undefined;
  /** 1 to 10,000. */
  readonly limit: number;
}

export interface ExpiringCertificate {
  readonly device: DeviceId;
  readonly group: GroupName;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Sort key of the page, ascending. */
  readonly at: number;
}

export interface ExpiryStore {
  listExpiring(filter: ExpiryFilter): Promise<readonly ExpiringCertificate[]>;
  countExpiring(filter: Pick<ExpiryFilter, 'which' | 'until'>): Promise<number>;
}

const LATE_AT = '(c.not_after - (c.not_after - c.not_before) / 10)';
const LATE_FOR_MS = 90 * 24 * 3_600_000;
const AT = { ending: 'c.not_after', late: LATE_AT } as const;

/** A device can have two valid certificates: the older one may not be superseded yet. */
const CURRENT = `c.revoked_at IS NULL AND c.device_id IS NOT NULL AND c.superseded_at IS NULL AND NOT EXISTS (
  SELECT 1 FROM certificates AS later
  WHERE later.device_id = c.device_id AND later.revoked_at IS NULL AND later.not_after > c.not_after
)`;

export function createExpiryStore(database: RegistryDatabase): ExpiryStore {
  return {
    listExpiring: async (filter) => database.read((tx) => list(tx, filter)),
    countExpiring: async ({ which, until }) =>
      database.read((tx) => {
        const sql = `SELECT count(*) AS n FROM certificates AS c WHERE ${AT[which]} > @from AND ${AT[which]} <= @until AND ${CURRENT}`;
        return tx.get<{ n: number }>(sql, rangeOf(tx, which, until))?.n ?? 0;
      }),
  };
}

function list(tx: Transaction, { which, until, after, limit }: ExpiryFilter): readonly ExpiringCertificate[] {
  const at = AT[which];
  const range = rangeOf(tx, which, until);
  const from = after === undefined ? { at: range.from, serial: 'g' } : after; // no serial is as great as "g"
  return tx.all<ExpiringCertificate>(
    `SELECT devices.id AS device, group_name AS "group", c.serial, c.not_before AS notBefore, c.not_after AS notAfter,
       ${at} AS at
     FROM certificates AS c CROSS JOIN devices ON devices.id = c.device_id
     WHERE ${at} >= @at AND (${at}, c.serial) > (@at, @serial) AND ${at} <= @until AND ${CURRENT}
     ORDER BY ${at}, c.serial LIMIT @limit`,
    { at: Math.max(from.at, range.from), serial: from.serial, until: range.until, limit: expectLimit(limit) },
  );
}

function rangeOf(tx: Transaction, which: ExpiryFilter['which'], until: number): { from: number; until: number } {
  return which === 'ending' ? { from: tx.now, until } : { from: tx.now - LATE_FOR_MS, until: tx.now };
}
