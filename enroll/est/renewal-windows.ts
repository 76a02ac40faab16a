/** Computes renewal windows from the validity of a certificate, its serial, and the time the whole fleet needs to renew. */

import type { RenewalNotice, RenewalReason } from '@rollcall/protocol';
export interface CertificateValidity {
  /** Lower-case hexadecimal. */
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface RenewalWindow {
  readonly start: number;
  readonly end: number;
  readonly reason: RenewalReason;
}

/** Two points in the validity of a certificate, as fractions of it. */
export interface ValidityFraction {
  readonly from: number;
  readonly to: number;
}

/** Windows are within this part by default: late enough to save renewals, early enough for an outage of days. */
const DEFAULT_PART: ValidityFraction = { from: 0.6, to: 0.8 };
/** The widest part, for a fleet that is large in relation to its budget. */
const WIDEST = { from: 0.3, to: 0.85 } as const;
/** The length of one window as a fraction of the validity: a device that sleeps for a while still finds it open. */
const LENGTH = 0.05;

/**
 * The window that follows from the certificate's own dates. `fleetMs` is how long the whole fleet takes to renew within
 * its budget: while that is less than a fifth of a life nothing changes, above it the windows spread further.
 */
export function scheduledWindow(
  { serial, notBefore, notAfter }: CertificateValidity,
  fleetMs: number,
  usual: ValidityFraction = DEFAULT_PART,
): RenewalWindow {
  const life = notAfter - notBefore;
  const { from, to } = stretched(fleetMs / life, usual);
  const start = notBefore + life * (from + (to - from - LENGTH) * serialPosition(serial));
  return { start: Math.floor(start), end: Math.floor(start + life * LENGTH), reason: 'scheduled' };
}

/** The window that a device receives now. A window that has ended is replaced by a late one that is open at once. */
export function effectiveWindow(window: RenewalWindow, { notAfter }: CertificateValidity, now: number): RenewalWindow {
  if (now < window.end) return window;
  return { start: now, end: Math.max(Math.min(now + LATE_MS, notAfter), now + 1), reason: 'late' };
}

/** Late devices renew within minutes and not in the same second: one outage may have affected all of them. */
const LATE_MS = 10 * 60 * 1000;

export function renewalNotice({ start, end, reason }: RenewalWindow, now: number): RenewalNotice {
  return { windowStart: iso(start), windowEnd: iso(end), reason, serverTime: iso(now) };
}

const HOUR = 3600;

/** Seconds until a device polls again. A window may be pulled forward at any time, so a short validity needs frequent polls. */
export function pollIntervalSeconds({ notBefore, notAfter }: CertificateValidity): number {
  return Math.round(Math.min(Math.max((notAfter - notBefore) / 1000 / 50, 60), 6 * HOUR));
}

/** The position of a serial among all others, 0 to 1. Serials are random from their second byte on. */
export function serialPosition(serial: string): number {
  return Number.parseInt(serial.slice(-8).padStart(8, '0'), 16) / 2 ** 32;
}

function stretched(need: number, part: ValidityFraction): ValidityFraction {
  const end = { from: Math.min(part.from, WIDEST.from), to: Math.max(part.to, WIDEST.to) };
  const usual = part.to - part.from - LENGTH;
  const widest = end.to - end.from - LENGTH;
  const by = widest > usual ? Math.min(Math.max((need - usual) / (widest - usual), 0), 1) : 0;
  return { from: part.from + (end.from - part.from) * by, to: part.to + (end.to - part.to) * by };
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
