/** Whether the clock of this node differs from that of the database by more than an operator would want. */

import type { Logger } from 'pino';
import type { ClockSkew } from '../../storage/postgres/index.ts';

/** A clock that differs by more is reported. */
const SKEW_TOLERATED_MS = 1_000;

export function isSkewed({ skew, uncertainty }: ClockSkew): boolean {
  return Math.abs(skew) - uncertainty > SKEW_TOLERATED_MS;
}

export function warnOfSkew(found: ClockSkew, log: Logger): void {
  if (!isSkewed(found)) return;
  log.warn({ skewMs: Math.round(found.skew) }, 'the clock of this node differs from that of the database');
}
