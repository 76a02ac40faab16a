/** What the server refused, as operators look at it. Times are milliseconds since the epoch. */

import type { DeviceId } from '@rollcall/protocol';

export const REFUSAL_KINDS = ['connection', 'enrollment', 'renewal', 'topic'] as const;
export type RefusalKind = (typeof REFUSAL_KINDS)[number];

/** Certificates are what the client presented; no check has confirmed them. */
export interface PresentedCertificate {
  readonly subject?: string | undefined;
  readonly issuer?: string | undefined;
  readonly names?: string | undefined;
  readonly serial?: string | undefined;
  readonly fingerprint?: string | undefined;
  readonly notBefore?: string | undefined;
  readonly notAfter?: string | undefined;
}

/**
 * Who was refused. `device`, `service`: the server knew it. `requested`: an enrollment asked for this device id. `claimed`: a
 * certificate that was not accepted names it. `token`: the id of a token. `address`: nothing else is known.
 */
export interface RefusedParty {
  readonly kind: 'device' | 'service' | 'requested' | 'claimed' | 'token' | 'address' | 'unknown';
  readonly name: string;
}

/** One refusal. */
export interface RefusalFacts {
  /** The same for all refusals of one group. */
  readonly key: string;
  readonly kind: RefusalKind;
  /** A reason of `presence.connect_failed`, the code of a problem, or `publish_denied` and the like. */
  readonly code: string;
  readonly party: RefusedParty;
  readonly detail: string | undefined;
  readonly at: number;
  /** Refusals of this kind that the limits of events left out before it. */
  readonly leftOut: number;
  readonly address: string | undefined;
  readonly token: string | undefined;
  readonly topic: string | undefined;
  readonly certificate: PresentedCertificate | undefined;
  /** The check that failed, and what mends it. */
  readonly sentence: string;
  readonly remedy: string;
}

/** Refusals of one party for one reason. */
export interface RefusalGroup extends Omit<RefusalFacts, 'at' | 'leftOut' | 'address' | 'topic'> {
  readonly count: number;
  /** The limits of events left some out. */
  readonly isAtLeast: boolean;
  readonly firstAt: number;
  readonly lastAt: number;
  /** A few of the newest. */
  readonly addresses: readonly string[];
  readonly topics: readonly string[];
}

export interface RefusalFilter {
  readonly kind?: RefusalKind | undefined;
  readonly code?: string | undefined;
  readonly device?: DeviceId | undefined;
  readonly address?: string | undefined;
}

export interface RefusalQuery extends RefusalFilter {
  readonly since: number;
  readonly until: number;
  /** Groups. */
  readonly limit: number;
}

export interface RefusalList {
  /** The newest first. */
  readonly groups: readonly RefusalGroup[];
  /** Groups that the limit left out. */
  readonly moreGroups: number;
  /** From here on all events were read; later than `since` where there were too many. */
  readonly readSince: number;
  readonly bucketMs: number;
  /** Begins of buckets, and how many refusals of each kind are in them, those that were left out included. */
  readonly buckets: readonly (Readonly<Record<RefusalKind, number>> & { readonly at: number })[];
}

export interface RefusalControl {
  list(query: RefusalQuery): Promise<RefusalList>;
  /** Undefined for an event that is about something else. */
  ofEvent(type: string, json: Uint8Array): RefusalFacts | undefined;
}

export function isSelected({ kind, code, party, address }: RefusalFacts, wanted: RefusalFilter): boolean {
  return (
    (wanted.kind === undefined || wanted.kind === kind) &&
    (wanted.code === undefined || wanted.code === code) &&
    (wanted.address === undefined || wanted.address === address) &&
    (wanted.device === undefined || (wanted.device === party.name && party.kind !== 'address'))
  );
}
