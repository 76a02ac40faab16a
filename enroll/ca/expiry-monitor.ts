/**
 * Counts certificates that expire soon and renewals that are late: every ten minutes for gauges, and once a day for an
 * audit entry that becomes an event. Renews nothing.
 */

import type { Logger } from 'pino';
import type { ExpiryStore, Registry } from '../../registry/index.ts';

export interface ExpiryMonitor {
  /** Gauges, by name and label. */
  counters(): Readonly<Record<string, number>>;
  /** Counts now; the timer calls it. */
  count(): Promise<void>;
  close(): Promise<void>;
}

const DAY_MS = 24 * 3_600_000;
const COUNT_EVERY_MS = 600_000;
const SUBJECT = 'fleet/certificates';

export function createExpiryMonitor(options: {
  readonly registry: ExpiryStore & Pick<Registry, 'recordAction' | 'listAudit'>;
  /** Called when the audit entry of the day is recorded. */
  readonly onRecorded: () => void;
  readonly now: () => number;
  readonly log: Logger;
}): ExpiryMonitor {
  const { registry, onRecorded, now, log } = options;
  let counters: Readonly<Record<string, number>> = {};
  let counting: Promise<void> = Promise.resolve();

  const count = async (): Promise<void> => {
    const at = now();
    const endingIn7Days = await registry.countExpiring({ which: 'ending', until: at + 7 * DAY_MS });
    const endingIn30Days = await registry.countExpiring({ which: 'ending', until: at + 30 * DAY_MS });
    const late = await registry.countExpiring({ which: 'late', until: at });
    counters = {
      'certificates_ending/within=7d': endingIn7Days,
      'certificates_ending/within=30d': endingIn30Days,
      certificates_late: late,
    };
    if (endingIn30Days + late === 0) return; // nothing to report
    const [last] = await registry.listAudit({ subject: SUBJECT, limit: 1 });
    if (last !== undefined && at < last.at + DAY_MS) return;
    const details = { endingIn7Days, endingIn30Days, late };
    await registry.recordAction({
      ...{ actor: 'server/enroll', action: 'certificates.counted', subject: SUBJECT, outcome: 'done', details },
    });
    onRecorded();
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
