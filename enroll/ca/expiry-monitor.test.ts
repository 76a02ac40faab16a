import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { AuditedAction } from '../../registry/audit-store.ts';
import type { AuditEntry } from '../../registry/index.ts';
import { createExpiryMonitor } from './expiry-monitor.ts';

const DAY = 24 * 3_600_000;

function watchOf(counts: { soon: number; later: number; late: number }) {
  const clock = { now: Date.UTC(2030, 0, 1) };
  const acts: (AuditedAction & { readonly at: number })[] = [];
  let told = 0;
  const watch = createExpiryMonitor({
    registry: {
      listExpiring: async () => [],
      countExpiring: async ({ which, until }) => {
        if (which === 'late') return counts.late;
        return until === clock.now + 7 * DAY ? counts.soon : counts.later;
      },
      recordAction: async (act) => acts.push({ ...act, at: clock.now }),
      listAudit: async () => acts.slice(-1) as unknown as AuditEntry[],
    },
    onRecorded: () => {
      told += 1;
    },
    now: () => clock.now,
    log: pino({ level: 'silent' }),
  });
  return { watch, acts, clock, told: () => told };
}

describe('the expiry monitor', () => {
  it('counts for gauges and records one audit entry a day, across restarts', async () => {
    const { watch, acts, clock, told } = watchOf({ soon: 2, later: 5, late: 1 });
    await watch.close(); // its timer and first look are over
    expect(watch.counters()).toEqual({
      'certificates_ending/within=7d': 2,
      'certificates_ending/within=30d': 5,
      certificates_late: 1,
    });
    expect(acts).toMatchObject([
      { action: 'certificates.counted', details: { endingIn7Days: 2, endingIn30Days: 5, late: 1 } },
    ]);
    clock.now += DAY - 1;
    await watch.count();
    expect(acts).toHaveLength(1);
    clock.now += 1;
    await watch.count();
    expect([acts.length, told()]).toEqual([2, 2]);
  });

  it('records nothing when no certificate expires', async () => {
    const { watch, acts } = watchOf({ soon: 0, later: 0, late: 0 });
    await watch.close();
    expect(acts).toEqual([]);
  });
});
