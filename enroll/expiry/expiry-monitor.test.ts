import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { AuditedAction } from '../../registry/audit/audit-store.ts';
import type { AuditEntry } from '../../registry/index.ts';
import type { ExpiringParts } from './authority-items.ts';
import { createExpiryMonitor } from './expiry-monitor.ts';

const DAY = 24 * 3_600_000;
const START = Date.UTC(2030, 0, 1);

interface Given {
  /** Of devices, within 1, 7, 30 and 90 days. */
  readonly devices?: readonly number[];
  readonly late?: number;
  /** Lifetime of the certificate of a listener, and whether it is from files. */
  readonly listener?: { readonly days: number; readonly file?: string };
}

function monitorOf({ devices = [0, 0, 0, 0], late = 0, listener }: Given) {
  const clock = { now: START };
  const recorded: (AuditedAction & { readonly at: number })[] = [];
  let notified = 0;
  const dates = { notBefore: START, notAfter: START + (listener?.days ?? 0) * DAY };
  const listeners = listener === undefined ? [] : [{ name: 'broker', serial: 'ab', file: listener.file, ...dates }];
  const monitor = createExpiryMonitor({
    registry: {
      listExpiring: async ({ kinds }) =>
        kinds.includes('device') && devices[3] !== 0
          ? [{ kind: 'device', name: 'p-1', id: 'a1', notBefore: START, expiresAt: START + 3 * DAY }]
          : [],
      countExpiring: async (kind) => (kind === 'device' ? devices : [0, 0, 0, 0]),
      countLate: async (kind) => (kind === 'device' ? late : 0),
      recordAction: async (action) => recorded.push({ ...action, at: clock.now }),
      listAudit: async ({ subject }) =>
        recorded.filter((entry) => entry.subject === subject).slice(-1) as unknown as AuditEntry[],
    },
    authority: {
      cas: { roots: [], issuing: [], allCrossCertificates: [], records: [] },
      serverCertificates: { list: () => listeners },
      status: { listOcspSigners: async () => [], crlValidity: () => new Map() },
    } as unknown as ExpiringParts,
    onRecorded: () => {
      notified += 1;
    },
    now: () => clock.now,
    log: pino({ level: 'silent' }),
  });
  return { monitor, recorded, clock, notified: () => notified };
}

describe('the expiry monitor', () => {
  it('counts each kind for gauges and records one audit entry a day and kind, across restarts', async () => {
    const { monitor, recorded, clock, notified } = monitorOf({ devices: [1, 2, 5, 9], late: 1 });
    await monitor.close(); // its timer is over, and its first count
    expect(monitor.counters()).toMatchObject({
      ...{ 'expiring/device,1d': 1, 'expiring/device,7d': 2, 'expiring/device,30d': 5, 'expiring/device,90d': 9 },
      ...{ 'late/device': 1, 'next_expiry/device': (START + 3 * DAY) / 1000, 'expiring/root,90d': 0, 'late/crl': 0 },
    });
    expect(monitor.counters()).not.toHaveProperty('next_expiry/service');
    expect(recorded).toMatchObject([
      {
        ...{ action: 'certificates.counted', subject: 'expiry/device' },
        details: {
          ...{ kind: 'device', endingIn7Days: 2, endingIn30Days: 5, endingIn90Days: 9, late: 1 },
          ...{ nextName: 'p-1', nextExpiresAt: '2030-01-04T00:00:00.000Z' },
        },
      },
    ]);
    clock.now += DAY - 1;
    await monitor.count();
    expect(recorded).toHaveLength(1);
    clock.now += 1;
    await monitor.count();
    expect([recorded.length, notified()]).toEqual([2, 2]);
  });

  it('records nothing when nothing expires', async () => {
    const { monitor, recorded } = monitorOf({});
    await monitor.close();
    expect(recorded).toEqual([]);
  });

  it('records a certificate from files that ends soon, and one that the server renews only when it is late', async () => {
    const fromFiles = monitorOf({ listener: { days: 20, file: '/etc/tls/broker.pem' } });
    await fromFiles.monitor.close();
    expect(fromFiles.recorded).toMatchObject([{ subject: 'expiry/server', details: { nextName: 'broker', late: 0 } }]);

    const own = monitorOf({ listener: { days: 20 } });
    await own.monitor.close();
    expect(own.recorded).toEqual([]);
    expect(own.monitor.counters()).toMatchObject({ 'expiring/server,30d': 1 });
    own.clock.now += 18 * DAY;
    await own.monitor.count();
    expect(own.recorded).toMatchObject([{ subject: 'expiry/server', details: { endingIn7Days: 1, late: 1 } }]);
  });
});
