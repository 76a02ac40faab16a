/** An acknowledged message is on disk when the process is killed. `main.ts` runs the same test for longer. */

import { expect, it } from 'vitest';
import { temporaryDirectory } from '../fixtures/temporary.ts';
import { crash } from './crashes.ts';

it('ten kills under load lose nothing that was acknowledged, and store nothing twice or out of order', async () => {
  const result = await crash({
    data: temporaryDirectory(),
    kills: 10,
    devices: 12,
    inflight: 8,
    longestLife: 300,
    random: Math.random,
  });
  expect(result).toMatchObject({ kills: 10, lost: [], duplicates: [], misplaced: [] });
  expect(result.acknowledged).toBeGreaterThan(500);
  expect(result.retried).toBeGreaterThan(0);
  expect(result.stored).toBeGreaterThanOrEqual(result.acknowledged);
});

it('kills under load lose nothing while another process opens and closes the databases', async () => {
  const result = await crash({
    data: temporaryDirectory(),
    kills: 8,
    devices: 8,
    inflight: 8,
    longestLife: 600,
    random: Math.random,
    isVisited: true,
  });
  expect(result).toMatchObject({ kills: 8, lost: [], duplicates: [], misplaced: [] });
  expect(result.visits).toBeGreaterThan(20);
  expect(result.acknowledged).toBeGreaterThan(100);
});
