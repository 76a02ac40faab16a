/** Everything of a fleet that can expire, by kind, and the order of its list: the earliest end first, then kind, then id. */

import type { GroupName } from '@rollcall/protocol';

/** Kinds that the registry lists: each can have a row per device. */
export const RECORDED_EXPIRING_KINDS = ['device', 'service', 'token', 'operator-key'] as const;

/**
 * Kinds that the certificate authority of a server lists: a few of each. `server` is the certificate of a listener, also
 * one from files; `crl` ends at its nextUpdate.
 */
export const AUTHORITY_EXPIRING_KINDS = [
  'server',
  'root',
  'issuing-ca',
  'cross-certificate',
  'ocsp-signer',
  'crl',
] as const;

/** Add a kind here, and list it in the registry or in `enroll/expiry/`; metrics, API, commands and docs use this list. */
export const EXPIRING_KINDS = [...RECORDED_EXPIRING_KINDS, ...AUTHORITY_EXPIRING_KINDS] as const;

export type RecordedExpiringKind = (typeof RECORDED_EXPIRING_KINDS)[number];
export type ExpiringKind = (typeof EXPIRING_KINDS)[number];

/** Times are milliseconds since the epoch. */
export interface ExpiringRecord<Kind extends ExpiringKind = ExpiringKind> {
  readonly kind: Kind;
  /** Of its holder; of a token `device/ID` or `group/NAME`, of an API key its operator. */
  readonly name: string;
  /** Unique in its kind: serial of a certificate, id of a token, API key or CA. Lower-case hexadecimal. */
  readonly id: string;
  /** Of a device. */
  readonly group?: GroupName;
  readonly notBefore: number;
  readonly expiresAt: number;
}

/** Who makes the next one, in time unless something is wrong. `files`: the program that writes the files of a certificate. */
export const RENEWED_BY = ['device', 'service', 'server', 'files', 'operator', 'nobody'] as const;
export type RenewedBy = (typeof RENEWED_BY)[number];

export interface ExpiringItem extends ExpiringRecord {
  readonly renewedBy: RenewedBy;
  /** What renews it, or the command by which an operator does; a part of a sentence. */
  readonly action: string;
}

/** Position in the list. `at` is the end, or the time since when the item is late, as the filter selects. */
export interface ExpiryCursor {
  readonly at: number;
  readonly kind: ExpiringKind;
  readonly id: string;
}

export interface ExpiryFilter {
  /** `ending`: expires before `until`. `late`: nine tenths of its life are over, for 90 days at most. */
  readonly which: 'ending' | 'late';
  /** For `ending`, milliseconds since the epoch. */
  readonly until: number;
  readonly kinds: readonly ExpiringKind[];
  /** The last one of the page before. */
  readonly after?: ExpiryCursor | undefined;
  /** 1 to 10,000. */
  readonly limit: number;
}

/** How long an item that was not renewed stays in the list of late ones. */
export const LATE_FOR_MS = 90 * 24 * 3_600_000;

/** When nine tenths of its life are over: later than any renewal. */
export function lateSince({ notBefore, expiresAt }: Pick<ExpiringRecord, 'notBefore' | 'expiresAt'>): number {
  return expiresAt - Math.floor((expiresAt - notBefore) / 10);
}

const NEVER_LATE: ReadonlySet<ExpiringKind> = new Set(['ocsp-signer', 'token', 'operator-key']);

/**
 * Whether it should have been renewed. Nobody renews a token or an API key, and an OCSP signer is renewed when a request
 * needs it, so none of them is late.
 */
export function isLate(item: ExpiringRecord, now: number): boolean {
  if (NEVER_LATE.has(item.kind)) return false;
  const since = lateSince(item);
  return since <= now && since > now - LATE_FOR_MS;
}

export function expiryCursor(which: ExpiryFilter['which'], item: ExpiringRecord): ExpiryCursor {
  return { at: which === 'ending' ? item.expiresAt : lateSince(item), kind: item.kind, id: item.id };
}

/** The order of the list. */
export function compareExpiryCursors(a: ExpiryCursor, b: ExpiryCursor): number {
  return a.at - b.at || compareText(a.kind, b.kind) || compareText(a.id, b.id);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
