import { expect, it } from 'vitest';
import type { ExpiringParts } from './authority-items.ts';
import { createExpiryWeeks, WEEK_MS } from './expiry-weeks.ts';

const START = Date.UTC(2030, 0, 1);

/** Three devices that expire in the second week and one in the fourth; a listener that expires in the third. */
function weeksOf() {
  const clock = { now: START };
  let counted = 0;
  const count = createExpiryWeeks({
    registry: {
      countExpiring: async (kind, untils) => {
        if (kind !== 'device') return untils.map(() => 0);
        counted += 1;
        return untils.map((_, week) => (week === 0 ? 0 : week < 3 ? 3 : 4));
      },
      countLate: async (kind) => (kind === 'service' ? 2 : 0),
    },
    authority: {
      cas: { roots: [], issuing: [], allCrossCertificates: [], records: [] },
      serverCertificates: {
        list: () => [{ name: 'broker', serial: 'ab', notBefore: START, notAfter: START + 2.5 * WEEK_MS }],
      },
      status: { listOcspSigners: async () => [], crlValidity: () => new Map() },
    } as unknown as ExpiringParts,
    now: () => clock.now,
  });
  return { count, clock, counted: () => counted };
}

it('what expires is counted by week and kind, and what is late by kind', async () => {
  const { from, weeks, late } = await weeksOf().count();
  expect(from).toBe(START);
  expect(weeks).toHaveLength(26);
  expect(weeks.slice(0, 5)).toEqual([{}, { device: 3 }, { server: 1 }, { device: 1 }, {}]);
  expect(late).toEqual({ service: 2 });
});

it('the count is shared for a minute by all who ask', async () => {
  const { count, clock, counted } = weeksOf();
  await Promise.all([count(), count()]);
  clock.now += 59_000;
  await count();
  expect(counted()).toBe(1);
  clock.now += 2_000;
  expect((await count()).from).toBe(START + 61_000);
  expect(counted()).toBe(2);
});
