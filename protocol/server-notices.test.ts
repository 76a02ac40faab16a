import { describe, expect, it } from 'vitest';
import { parseRenewalNotice, parseServerTime, type RenewalNotice } from './server-notices.ts';

const notice: RenewalNotice = {
  windowStart: '2026-03-01T00:00:00.000Z',
  windowEnd: '2026-03-04T00:00:00.000Z',
  reason: 'scheduled',
  serverTime: '2026-01-01T00:00:00.000Z',
};

describe('a renewal notice', () => {
  it('is read as it was written, and what a later server adds is ignored', () => {
    expect(parseRenewalNotice(JSON.stringify(notice))).toEqual(notice);
    expect(parseRenewalNotice(JSON.stringify({ ...notice, more: 1 }))).toEqual(notice);
  });

  it.each([
    '',
    'null',
    '[]',
    '"x"',
    JSON.stringify({ ...notice, windowEnd: notice.windowStart }),
    JSON.stringify({ ...notice, windowStart: 'tomorrow' }),
    JSON.stringify({ ...notice, windowStart: '2026-13-01T00:00:00.000Z' }),
    JSON.stringify({ ...notice, serverTime: 1 }),
    JSON.stringify({ ...notice, reason: 'because' }),
    JSON.stringify({ ...notice, reason: undefined }),
  ])('is not read from %s', (text) => {
    expect(parseRenewalNotice(text)).toBeUndefined();
  });
});

describe('the server time', () => {
  it('is read when both of its forms say the same', () => {
    const time = { time: '2026-01-01T00:00:00.000Z', unixMs: Date.UTC(2026, 0, 1) };
    expect(parseServerTime(JSON.stringify(time))).toEqual(time);
    expect(parseServerTime(JSON.stringify({ ...time, unixMs: 1 }))).toBeUndefined();
    expect(parseServerTime('{}')).toBeUndefined();
  });
});
