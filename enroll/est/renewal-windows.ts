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

/** From and to, as parts of a certificate's life. */
export interface ValidityFraction {
  readonly from: number;
  readonly to: number;
}

/** The usual window lies in here, as parts of a life: late enough to be worth it, early enough for a server that is down for days. */
const USUAL_PART: ValidityFraction = { from: 0.6, to: 0.8 };
/** How far it may be stretched for a fleet that is large for its budget. */
const WIDEST = { from: 0.3, to: 0.85 } as const;
/** Length of one window within that, as a part of a life: a device that sleeps a while still finds it open. */
const LENGTH = 0.05;

/**
 * The window that follows from the certificate's own dates. `needMs` is how long the whole fleet takes to renew within
 * its budget: while that is less than a fifth of a life nothing changes, above it the windows spread further.
 */
export function scheduledWindow(
  { serial, notBefore, notAfter }: CertificateValidity,
  needMs: number,
  usual: ValidityFraction = USUAL_PART,
): RenewalWindow {
  const life = notAfter - notBefore;
  const { from, to } = stretched(needMs / life, usual);
  const start = notBefore + life * (from + (to - from - LENGTH) * serialPosition(serial));
  return { start: Math.floor(start), end: Math.floor(start + life * LENGTH), reason: 'scheduled' };
}

/** What a device is told now: a window that is over says so, and is open at once. */
export function effectiveWindow(window: RenewalWindow, { notAfter }: CertificateValidity, now: number): RenewalWindow {
  if (now < window.end) return window;
  return { start: now, end: Math.max(Math.min(now + LATE_MS, notAfter), now + 1), reason: 'late' };
}

/** Late ones renew within minutes, yet not in the same second: they may all have been away for the same reason. */
const LATE_MS = 10 * 60 * 1000;

export function renewalNotice({ start, end, reason }: RenewalWindow, now: number): RenewalNotice {
  return { windowStart: iso(start), windowEnd: iso(end), reason, serverTime: iso(now) };
}

const HOUR = 3600;

/** Seconds until a device should ask again: a window can be pulled forward at any time, a short life has less time to hear of it. */
export function pollIntervalSeconds({ notBefore, notAfter }: CertificateValidity): number {
  return Math.round(Math.min(Math.max((notAfter - notBefore) / 1000 / 50, 60), 6 * HOUR));
}

/** Where a serial stands among all others, 0 to 1. Serials of ours are random from their second byte on. */
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
