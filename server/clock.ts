/**
 * Whether the clock of this machine can be right, asked before anything is dated by it: a CA made in 1970 ends in 1990, and
 * nothing repairs it. The only time that is surely past is the date of this version.
 */

import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import type { Registry } from '../registry/index.ts';

const { released } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly released: string;
};

/** The date of this version in package.json, in milliseconds since the epoch. */
export const RELEASED_AT = Date.parse(released);

const DAY_MS = 86_400_000;

/** A time zone that was taken for UTC is no reason to refuse. */
const BEFORE_RELEASE_MS = DAY_MS;

/** As long as a root is valid by default: nobody runs a version for longer. */
const AFTER_RELEASE_MS = 20 * 365 * DAY_MS;

/** Below this, a clock that was set back is not worth a word. */
const BEHIND_TOLERATED_MS = 300_000;

/** Programs call it with their clock before they start a server. Throws `clock_implausible` for a time before this version was made, or more than 20 years after it. */
export function expectPlausibleClock(now: number): void {
  const isBefore = now < RELEASED_AT - BEFORE_RELEASE_MS;
  if (!isBefore && now <= RELEASED_AT + AFTER_RELEASE_MS) return;
  throw new Problem('clock_implausible', {
    reason: `it says ${new Date(now).toISOString()}, ${isBefore ? 'before' : 'more than 20 years after'} this version was made (${released})`,
    hint: 'set the clock (for example "timedatectl set-ntp true"), then start again; certificates made now would carry that date',
  });
}

/** Entries made while the clock was behind come last, and must not hide those before them. */
const AUDIT_COMPARED = 1_000;

/** The newest time that this fleet has seen, in its last entries: its clock was there once. Milliseconds since the epoch; 0 before the first entry. */
export async function newestAuditTime(registry: Pick<Registry, 'listAudit'>): Promise<number> {
  const entries = await registry.listAudit({ limit: AUDIT_COMPARED });
  return entries.reduce((latest, { at }) => Math.max(latest, at), 0);
}

/** Whether the clock was set back by more than five minutes since `audited`. */
export function isClockBehind(now: number, audited: number): boolean {
  return now < audited - BEHIND_TOLERATED_MS;
}
