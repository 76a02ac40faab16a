import { parseRenewalNotice, parseServerTime, RENEWAL_INFO_PATH, TIME_PATH } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { openTestEnrollment } from '../../test/fixtures/enroll/test-enrollment.ts';
import { DAY } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { effectiveWindow, scheduledWindow, serialPosition } from './renewal-windows.ts';

it('every client can read the time over the channel that the root authenticates', async () => {
  const { send, clock } = await openTestEnrollment();
  const answer = await send({ path: TIME_PATH });
  expect(answer.status).toBe(200);
  expect(parseServerTime(answer.body)).toEqual({ time: new Date(clock.now).toISOString(), unixMs: clock.now });
  expect(answer.headers['cache-control']).toBe('no-store');
});

it('every refusal tells the time, in its body and as Date', async () => {
  const { send, clock } = await openTestEnrollment();
  clock.now += 3600_000; // not the machine's own clock
  for (const path of [RENEWAL_INFO_PATH, '/nothing', '/.well-known/est/simpleenroll']) {
    const answer = await send({ path });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.headers.date).toBe(new Date(clock.now).toUTCString());
    expect(JSON.parse(answer.body)).toMatchObject({ time: new Date(clock.now).toISOString() });
  }
});

it('a device learns its renewal window with its certificate, and no client without one does', async () => {
  const { send, enroll, clock } = await openTestEnrollment();
  expect(await send({ path: RENEWAL_INFO_PATH })).toMatchObject({ status: 401, code: 'certificate_required' });

  const device = await enroll('dev-1');
  const answer = await send({ path: RENEWAL_INFO_PATH, client: device });
  expect(answer.status).toBe(200);
  expect(Number(answer.headers['retry-after'])).toBeGreaterThan(60);
  const notice = parseRenewalNotice(answer.body);
  expect(notice).toMatchObject({ reason: 'scheduled', serverTime: new Date(clock.now).toISOString() });
  const begin = device.certificate.validFromDate.getTime();
  const life = device.certificate.validToDate.getTime() - begin;
  const start = (Date.parse(notice?.windowStart ?? '') - begin) / life;
  const end = (Date.parse(notice?.windowEnd ?? '') - begin) / life;
  expect(start).toBeGreaterThan(0.59);
  expect(end).toBeLessThan(0.81);
});

it('a device that slept through its window is told to renew at once', async () => {
  const { send, enroll, clock } = await openTestEnrollment();
  const device = await enroll('dev-1');
  clock.now += 80 * DAY * 1000;
  const notice = parseRenewalNotice((await send({ path: RENEWAL_INFO_PATH, client: device })).body);
  expect(notice).toMatchObject({ reason: 'late', windowStart: new Date(clock.now).toISOString() });
});

it('windows are spread evenly by serial, at a stable position, and wider for a large fleet', () => {
  const life = { notBefore: 0, notAfter: 1_000_000 };
  const serialAt = (part: number) =>
    `40${'0'.repeat(24)}${Math.floor(part * (2 ** 32 - 1))
      .toString(16)
      .padStart(8, '0')}`;
  const starts = [0, 0.25, 0.5, 0.75, 1].map((part) => scheduledWindow({ ...life, serial: serialAt(part) }, 0).start);
  expect(starts).toEqual([600_000, 637_499, 674_999, 712_499, 749_999]);
  const wide = [0, 1].map((part) => scheduledWindow({ ...life, serial: serialAt(part) }, 10_000_000).start);
  expect(wide).toEqual([300_000, 799_999]);
  expect(serialPosition('40ffffffff')).toBeLessThan(1);
});

it('a late window never ends after the certificate, nor before it begins', () => {
  const life = { serial: '4001', notBefore: 0, notAfter: 1_000_000 };
  const over = { start: 0, end: 10, reason: 'scheduled' } as const;
  expect(effectiveWindow(over, life, 999_000)).toEqual({ start: 999_000, end: 1_000_000, reason: 'late' });
  expect(effectiveWindow(over, life, 2_000_000)).toEqual({ start: 2_000_000, end: 2_000_001, reason: 'late' });
});
