/** How long certificates live in tests. */

import type { Lifetimes } from './profile.ts';

export const DAY = 24 * 3600;

export const TEST_LIFETIMES: Lifetimes = {
  deviceSeconds: 90 * DAY,
  serverSeconds: 30 * DAY,
  issuingSeconds: 3 * 365 * DAY,
  rootSeconds: 20 * 365 * DAY,
  backdateSeconds: 600,
};
