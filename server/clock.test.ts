import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { expectPlausibleClock, isClockBehind, newestAuditTime, RELEASED_AT } from './clock.ts';

const DAY = 86_400_000;
const root = fileURLToPath(new URL('..', import.meta.url));

describe('a clock', () => {
  it.each([
    ['in 1970', 0],
    ['two days before this version was made', RELEASED_AT - 2 * DAY],
    ['in 2100', Date.parse('2100-01-01')],
  ])('%s dates no certificate', (_, now) => {
    expect(() => expectPlausibleClock(now)).toThrow(expect.objectContaining({ code: 'clock_implausible' }));
  });

  it.each([
    ['of a time zone taken for UTC on the day of the release', RELEASED_AT - DAY / 2],
    ['ten years after the release', RELEASED_AT + 3_650 * DAY],
  ])('%s is plausible', (_, now) => {
    expect(() => expectPlausibleClock(now)).not.toThrow();
  });

  it('is behind when the audit was written more than five minutes later than now', async () => {
    const audited = await newestAuditTime({ listAudit: async () => [{ at: RELEASED_AT } as never] });
    expect([301_000, 299_000].map((before) => isClockBehind(RELEASED_AT - before, audited))).toEqual([true, false]);
    expect(await newestAuditTime({ listAudit: async () => [] })).toBe(0);
    const wronglyDated = [{ at: 1 } as never, { at: RELEASED_AT } as never];
    expect(await newestAuditTime({ listAudit: async () => wronglyDated })).toBe(RELEASED_AT);
  });
});

/** A packed release and a bare machine have no history. */
const newestCommit = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }).stdout ?? '';

it.skipIf(newestCommit === '')(
  'the release date in package.json is at most 180 days older than the newest commit, and not after it',
  () => {
    const age = Number(newestCommit) * 1_000 - RELEASED_AT;
    expect(age).toBeGreaterThan(-DAY);
    expect(age).toBeLessThan(180 * DAY);
  },
);
