/** How much of each kind expires in each of the next weeks. Counted in slices at most once a minute, and shared by all who ask meanwhile. */

import {
  EXPIRING_KINDS,
  type ExpiringItem,
  type ExpiringKind,
  type ExpiryStore,
  isLate,
  RECORDED_EXPIRING_KINDS,
  type RecordedExpiringKind,
} from '../../registry/index.ts';
import { type ExpiringParts, listAuthorityItems } from './authority-items.ts';

export interface ExpiryWeeks {
  /** When it was counted, milliseconds since the epoch: the begin of the first week. */
  readonly from: number;
  /** What expires in each week. A kind without any is absent. */
  readonly weeks: readonly Readonly<Partial<Record<ExpiringKind, number>>>[];
  /** What is late to renew. A kind without any is absent. */
  readonly late: Readonly<Partial<Record<ExpiringKind, number>>>;
}

export const WEEK_MS = 7 * 24 * 3_600_000;
/** About half a year: certificates of devices live 90 days by default. */
export const COUNTED_WEEKS = 26;
const FRESH_MS = 60_000;

export interface ExpiryWeeksOptions {
  readonly registry: Pick<ExpiryStore, 'countExpiring' | 'countLate'>;
  readonly authority: ExpiringParts;
  readonly now: () => number;
}

/** Returns the function that counts. */
export function createExpiryWeeks(options: ExpiryWeeksOptions): () => Promise<ExpiryWeeks> {
  const { now } = options;
  let counted: { readonly at: number; readonly result: Promise<ExpiryWeeks> } | undefined;
  return () => {
    const at = now();
    if (counted !== undefined && at >= counted.at && at < counted.at + FRESH_MS) return counted.result;
    const result = countWeeks(options, at);
    counted = { at, result };
    result.catch(() => {
      counted = undefined;
    });
    return result;
  };
}

async function countWeeks({ registry, authority }: ExpiryWeeksOptions, at: number): Promise<ExpiryWeeks> {
  const ends = Array.from({ length: COUNTED_WEEKS }, (_, week) => at + (week + 1) * WEEK_MS);
  const items = await listAuthorityItems(authority);
  const weeks: Partial<Record<ExpiringKind, number>>[] = ends.map(() => ({}));
  const late: Partial<Record<ExpiringKind, number>> = {};
  for (const kind of EXPIRING_KINDS) {
    const held = items.filter((item) => item.kind === kind);
    const totals = isRecorded(kind) ? await registry.countExpiring(kind, ends) : countEnding(held, at, ends);
    for (const [week, total] of totals.entries()) {
      const count = total - (totals[week - 1] ?? 0);
      if (count > 0) (weeks[week] as Partial<Record<ExpiringKind, number>>)[kind] = count;
    }
    const lateCount = isRecorded(kind)
      ? await registry.countLate(kind)
      : held.filter((item) => isLate(item, at)).length;
    if (lateCount > 0) late[kind] = lateCount;
  }
  return { from: at, weeks, late };
}

function isRecorded(kind: ExpiringKind): kind is RecordedExpiringKind {
  return (RECORDED_EXPIRING_KINDS as readonly string[]).includes(kind);
}

/** Up to each end, as the registry counts. */
function countEnding(items: readonly ExpiringItem[], at: number, ends: readonly number[]): readonly number[] {
  return ends.map((end) => items.filter(({ expiresAt }) => expiresAt > at && expiresAt <= end).length);
}
