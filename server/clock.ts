/**
 * Checks the clock of this machine before it dates certificates: a CA that was created in 1970 would expire in 1990. The release date of
 * this version is the only time that is certainly past.
 */

import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Registry } from '../registry/index.ts';

const { released } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly released: string;
};

/** The date of this version in package.json, in milliseconds since the epoch. */
export const RELEASED_AT = Date.parse(released);

const DAY_MS = 86_400_000;

/** Tolerates a clock that holds local time as UTC. */
const BEFORE_RELEASE_MS = DAY_MS;

/** The default lifetime of a root. */
const AFTER_RELEASE_MS = 20 * 365 * DAY_MS;

/** The largest step back that is not reported. */
const BEHIND_TOLERATED_MS = 300_000;

/** Throws `clock_implausible` for a time before the release of this version, or more than 20 years after it. */
export function expectPlausibleClock(now: number): void {
  const isBefore = now < RELEASED_AT - BEFORE_RELEASE_MS;
  if (!isBefore && now <= RELEASED_AT + AFTER_RELEASE_MS) return;
  throw new Problem('clock_implausible', {
    reason: `it says ${new Date(now).toISOString()}, ${isBefore ? 'before' : 'more than 20 years after'} the release of this version (${released})`,
    hint: 'set the clock (for example "timedatectl set-ntp true"), then start again; certificates issued now would contain this date',
  });
}

/** More than one, because entries of a time when the clock was behind are the last ones. */
const AUDIT_COMPARED = 1_000;

/** The newest time in the last audit entries, milliseconds since the epoch; 0 without entries. */
export async function newestAuditTime(registry: Pick<Registry, 'listAudit'>): Promise<number> {
  const entries = await registry.listAudit({ limit: AUDIT_COMPARED });
  return entries.reduce((latest, { at }) => Math.max(latest, at), 0);
}

/** Whether the clock was set back by more than five minutes since `audited`. */
export function isClockBehind(now: number, audited: number): boolean {
  return now < audited - BEHIND_TOLERATED_MS;
}

/** Warns when the clock is behind now. Returns the state of the clock for health checks. */
export async function createClockCheck(
  registry: Pick<Registry, 'listAudit'>,
  { now, log }: { readonly now: () => number; readonly log: Logger },
): Promise<() => 'ok' | 'behind'> {
  const audited = await newestAuditTime(registry);
  if (isClockBehind(now(), audited)) {
    const newestEntry = new Date(audited).toISOString();
    log.warn(
      { newestEntry },
      'the clock is behind the newest entry of the audit; set it before certificates are issued',
    );
  }
  return () => (isClockBehind(now(), audited) ? 'behind' : 'ok');
}
