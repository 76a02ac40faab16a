/**
 * Counts what expires soon and what is late to renew, of each kind: every ten minutes for gauges, and once a day for an
 * audit entry per kind that becomes an event. Renews nothing.
 */

import type { Logger } from 'pino';
import {
  AUTHORITY_EXPIRING_KINDS,
  EXPIRING_KINDS,
  type ExpiringItem,
  type ExpiringKind,
  type ExpiryStore,
  isLate,
  RECORDED_EXPIRING_KINDS,
  type RecordedExpiringKind,
  type Registry,
} from '../../registry/index.ts';
import { type ExpiringParts, listAuthorityItems } from './authority-items.ts';

export interface ExpiryMonitor {
  /** Gauges, by name and labels. */
  counters(): Readonly<Record<string, number>>;
  /** Counts now; the timer calls it. */
  count(): Promise<void>;
  close(): Promise<void>;
}

const DAY_MS = 24 * 3_600_000;
const COUNT_EVERY_MS = 600_000;
/** The values of the label `within`, in days. */
const WITHIN_DAYS: readonly number[] = [1, 7, 30, 90];
/** A successor of a CA takes weeks to reach every device, so its end is reported earlier. */
const REPORT_WITHIN_DAYS: Partial<Record<ExpiringKind, number>> = {
  root: 90,
  'issuing-ca': 90,
  'cross-certificate': 90,
};

/** Of one kind. `within`: how many expire within each of `WITHIN_DAYS`. */
interface Counts {
  readonly within: readonly number[];
  readonly late: number;
  readonly next: Pick<ExpiringItem, 'name' | 'expiresAt'> | undefined;
}

export function createExpiryMonitor(options: {
  readonly registry: ExpiryStore & Pick<Registry, 'recordAction' | 'listAudit'>;
  readonly authority: ExpiringParts;
  /** Called when an audit entry of the day is recorded. */
  readonly onRecorded: () => void;
  /** Of nodes that have the same registry one reports; a server alone always does. */
  readonly mayReport?: (() => boolean) | undefined;
  readonly now: () => number;
  readonly log: Logger;
}): ExpiryMonitor {
  const { registry, authority, onRecorded, mayReport = () => true, now, log } = options;
  let counters: Readonly<Record<string, number>> = {};
  let counting: Promise<void> = Promise.resolve();

  const report = async (kind: ExpiringKind, { within, late, next }: Counts, at: number): Promise<void> => {
    const inDays = (days: number) => within[WITHIN_DAYS.indexOf(days)] ?? 0;
    if (inDays(REPORT_WITHIN_DAYS[kind] ?? 30) + late === 0) return;
    const subject = `expiry/${kind}`;
    const [last] = await registry.listAudit({ subject, limit: 1 });
    if (last !== undefined && at < last.at + DAY_MS) return;
    const details = {
      kind,
      ...{ endingIn7Days: inDays(7), endingIn30Days: inDays(30), endingIn90Days: inDays(90), late },
      ...(next !== undefined && { nextName: next.name, nextExpiresAt: new Date(next.expiresAt).toISOString() }),
    };
    await registry.recordAction({
      ...{ actor: 'server/enroll', action: 'certificates.counted', subject, outcome: 'done', details },
    });
    onRecorded();
  };

  const count = async (): Promise<void> => {
    const at = now();
    const items = await listAuthorityItems(authority);
    const counted = new Map<ExpiringKind, Counts>();
    for (const kind of RECORDED_EXPIRING_KINDS) counted.set(kind, await countRecorded(registry, kind, at));
    for (const kind of AUTHORITY_EXPIRING_KINDS) {
      const ofKind = items.filter((item) => item.kind === kind);
      counted.set(kind, countItems(ofKind, at));
    }
    counters = gauges(counted);
    if (!mayReport()) return;
    for (const kind of EXPIRING_KINDS) {
      // What the server renews by itself is reported when it did not.
      const toReport = items.filter((item) => item.kind === kind && (item.renewedBy !== 'server' || isLate(item, at)));
      const isRecorded = (RECORDED_EXPIRING_KINDS as readonly string[]).includes(kind);
      await report(kind, isRecorded ? (counted.get(kind) as Counts) : countItems(toReport, at), at);
    }
  };
  const countAndLog = () => {
    counting = counting
      .then(count)
      .catch((error: unknown) => log.error({ err: error }, 'certificates were not counted'));
  };
  countAndLog();
  const timer = setInterval(countAndLog, COUNT_EVERY_MS).unref();

  return {
    counters: () => counters,
    count,
    close: async () => {
      clearInterval(timer);
      await counting;
    },
  };
}

async function countRecorded(registry: ExpiryStore, kind: RecordedExpiringKind, at: number): Promise<Counts> {
  const within = await registry.countExpiring(
    kind,
    WITHIN_DAYS.map((days) => at + days * DAY_MS),
  );
  const late = await registry.countLate(kind);
  const filter = { which: 'ending', until: Number.MAX_SAFE_INTEGER, kinds: [kind], limit: 1 } as const;
  const [next] = await registry.listExpiring(filter);
  return { within, late, next };
}

function countItems(items: readonly ExpiringItem[], at: number): Counts {
  const ending = items.filter(({ expiresAt }) => expiresAt > at).sort((a, b) => a.expiresAt - b.expiresAt);
  return {
    within: WITHIN_DAYS.map((days) => ending.filter(({ expiresAt }) => expiresAt <= at + days * DAY_MS).length),
    late: items.filter((item) => isLate(item, at)).length,
    next: ending[0],
  };
}

function gauges(counted: ReadonlyMap<ExpiringKind, Counts>): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [kind, { within, late, next }] of counted) {
    for (const [index, days] of WITHIN_DAYS.entries()) found[`expiring/${kind},${days}d`] = within[index] ?? 0;
    found[`late/${kind}`] = late;
    if (next !== undefined) found[`next_expiry/${kind}`] = next.expiresAt / 1000;
  }
  return found;
}
