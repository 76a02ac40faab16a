import type { DeviceId, GroupName, RenewalNotice } from '@rollcall/protocol';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import type { CurrentCertificate, PulledWindow } from '../../registry/index.ts';
import { createRenewalSchedule } from './renewal-schedule.ts';
import { serialPosition } from './renewal-windows.ts';

const DAY = 24 * 3_600_000;
const START = Date.UTC(2030, 0, 1);
const ACTOR = 'operator/test';

/** A fleet of so many devices, all enrolled in the same minute. */
function fleetOf(count: number, perSecond: number, serviceSerials: readonly string[] = []) {
  const clock = { now: START };
  const pulled = new Map<string, PulledWindow>();
  const told = new Map<string, RenewalNotice | undefined>();
  const devices = Array.from({ length: count }, (_, n) => ({
    device: `dev-${String(n).padStart(7, '0')}` as DeviceId,
    group: (n % 2 === 0 ? 'even' : 'odd') as GroupName,
    // As spread as chance would have it, and the same in every run.
    serial: `40${((n * 2_654_435_761) % 2 ** 32).toString(16).padStart(8, '0')}`,
    notBefore: START,
    notAfter: START + 90 * DAY,
  }));
  const services = serviceSerials.map((serial) => ({ serial, notBefore: START, notAfter: START + 90 * DAY }));
  const acts: unknown[] = [];
  const registry: Parameters<typeof createRenewalSchedule>[0]['registry'] = {
    listProfiles: async () => new Map(),
    listCurrentCertificates: async ({ group, after, limit }) =>
      devices
        .filter((each) => (group === undefined || each.group === group) && each.device > (after ?? ''))
        .slice(0, limit)
        .map((each): CurrentCertificate => ({ ...each, issuerId: undefined, pulled: pulled.get(each.serial) })),
    listServiceCertificates: async ({ after, limit }) =>
      services
        .filter(({ serial }) => serial > (after ?? ''))
        .slice(0, limit)
        .map((each) => ({ ...each, device: undefined, group: undefined, issuerId: undefined, pulled: undefined })),
    countLiveCertificates: async () => devices.length + services.length,
    findPulledWindow: async (serial) => pulled.get(serial),
    pullWindows: async (windows) => {
      for (const { serial, ...window } of windows) pulled.set(serial, window);
      return windows.length;
    },
    recordAction: async (act) => acts.push({ ...act, windows: pulled.size }),
  };
  const renewals = createRenewalSchedule({
    registry,
    perSecond,
    notify: async (device, notice) => {
      told.set(device, notice);
    },
    now: () => clock.now,
    log: pino({ level: 'silent' }),
  });
  return { renewals, devices, pulled, told, clock, acts };
}

/** Renewals in the busiest minute, per second, when each device comes in the middle of its window. */
function busiest(windows: readonly { readonly start: number; readonly end: number }[]): number {
  const minutes = new Map<number, number>();
  for (const { start, end } of windows) {
    const minute = Math.floor((start + end) / 2 / 60_000);
    minutes.set(minute, (minutes.get(minute) ?? 0) + 1);
  }
  return Math.max(...minutes.values()) / 60;
}

it('a fleet that was enrolled in one minute never asks for more renewals than the budget', async () => {
  const { renewals, devices } = fleetOf(20_000, 0.02);
  const windows = await Promise.all(devices.map((device) => renewals.window(device)));
  // 20,000 at 0.02 a second take 11.6 days; a fifth of a life less the window itself is 13.5.
  expect(
    Math.max(...windows.map(({ start }) => start)) - Math.min(...windows.map(({ start }) => start)),
  ).toBeGreaterThan(11.6 * DAY);
  const days = new Map<number, number>();
  for (const { start } of windows) days.set(Math.floor(start / DAY), (days.get(Math.floor(start / DAY)) ?? 0) + 1);
  expect(Math.max(...days.values()) / 86_400).toBeLessThan(0.02);
  expect(await Promise.all(devices.map((device) => renewals.window(device)))).toEqual(windows);
});

it('a group that is pulled forward renews within the budget, in an order independent of names', async () => {
  const { renewals, devices, pulled, told, clock, acts } = fleetOf(6_000, 2);
  const answer = await renewals.pull({
    group: 'even' as GroupName,
    withinMs: 60_000,
    reason: 'pulled_forward',
    actor: ACTOR,
  });
  expect(answer.pulled).toBe(3_000);
  expect(answer.perSecond).toBeCloseTo(2, 5);
  expect(pulled.size).toBe(3_000);
  expect(busiest([...pulled.values()])).toBeLessThanOrEqual(2.05);
  expect(answer.until).toBeGreaterThanOrEqual(clock.now + 1_500_000);
  expect([...told.values()].every((notice) => notice?.reason === 'pulled_forward')).toBe(true);
  const byStart = [...pulled].sort(([, a], [, b]) => a.start - b.start).map(([serial]) => serialPosition(serial));
  expect(byStart).toEqual([...byStart].sort((a, b) => a - b));
  // The intent before the first window, in case nobody lives to write the outcome.
  expect(acts).toMatchObject([
    { action: 'renewals.pull.begun', subject: 'group/even', windows: 0 },
    {
      action: 'renewals.pulled',
      subject: 'group/even',
      windows: 3_000,
      details: { pulled: 3_000, until: new Date(answer.until).toISOString(), begun: 1 },
    },
  ]);

  const status = await renewals.status({});
  expect(status).toMatchObject({ devices: 6_000, pulled: 3_000, late: 0, budgetPerSecond: 2 });
  expect(status.nextHourPerSecond * 3600).toBeCloseTo(3_000, -1);
  expect(devices.length).toBe(6_000);
});

it('a repeated pull moves no window back, and a restart publishes its notices again', async () => {
  const { renewals, pulled, told, clock } = fleetOf(100, 10);
  await renewals.pull({ withinMs: 3_600_000, reason: 'ca_rotation', actor: ACTOR });
  const before = new Map(pulled);
  clock.now += 600_000;
  const again = await renewals.pull({ withinMs: 30 * DAY, reason: 'pulled_forward', actor: ACTOR });
  expect(again.pulled).toBe(0);
  expect(pulled).toEqual(before);
  told.clear();
  await renewals.republishNotices();
  expect(told.size).toBe(100);
});

it('a notice is withdrawn once its device has renewed, and no other notice is', async () => {
  const { renewals, devices, told } = fleetOf(2, 10);
  const [one] = devices;
  if (one === undefined) throw new Error('expected a device');
  await renewals.withdrawNotice(one.device, one.serial);
  expect(told.has(one.device)).toBe(false);
  await renewals.pull({ withinMs: 60_000, reason: 'pulled_forward', actor: ACTOR });
  await renewals.withdrawNotice(one.device, one.serial);
  expect(told.get(one.device)).toBeUndefined();
  expect(told.has(one.device)).toBe(true);
});

it('the status counts windows that are open or late, and certificates that expire soon', async () => {
  const { renewals, clock } = fleetOf(1_000, 10);
  clock.now = START + 65 * DAY;
  const status = await renewals.status({ group: 'odd' as GroupName });
  expect(status.devices).toBe(500);
  expect(status.due).toBeGreaterThan(50);
  expect(status.late).toBeGreaterThan(200);
  expect(status).toMatchObject({ endingIn7Days: 0, endingIn30Days: 500 });
});

it('services are pulled forward with the whole fleet and not with a group, and receive no notice', async () => {
  const { renewals, pulled, told } = fleetOf(3, 2, ['50', '51']);
  const order = { withinMs: 60_000, reason: 'ca_rotation', actor: ACTOR } as const;
  expect(await renewals.pull({ ...order, group: 'even' as GroupName })).toMatchObject({ pulled: 2, services: 0 });
  expect(await renewals.pull(order)).toMatchObject({ services: 2 });
  expect(pulled.get('50')).toMatchObject({ reason: 'ca_rotation' });
  expect(pulled.has('51')).toBe(true);
  expect(told.size).toBe(3);
});
