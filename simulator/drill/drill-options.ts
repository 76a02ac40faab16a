/** The options, the report and the server access of a CA rotation drill. */

import type { StolenCa } from './forged-certificates.ts';

/** The group of the drilled devices, which separates them from an existing fleet. */
export const DRILL_GROUP = 'rotation-drill';

/** An issuing CA under a root that stays, or the root with everything that it signed. */
export type ReplacedRole = 'issuing' | 'root';

/** A CA as operators see it. */
export interface CaSummary {
  readonly id: string;
  readonly role: 'root' | 'issuing';
  readonly state: 'prepared' | 'active' | 'outgoing' | 'tainted' | 'retired';
  /** Devices and services that hold nothing else; of a root, those that may know no other. */
  readonly stranded: number;
}

export interface RenewalRequest {
  /** Devices that are asked to renew. */
  readonly pulled: number;
  /** When the last window ends, ISO 8601. */
  readonly until: string;
}

/** Operator access to the drilled server, which is a copy and never the fleet itself. Its methods throw the server's problems. */
export interface DrillOperator {
  /** Text of a bootstrap token for devices of the group that is drilled. */
  createToken(uses: number): Promise<string>;
  /** Text of one that lets this device in again, whatever it had before. */
  createTokenFor(device: string): Promise<string>;
  cas(): Promise<readonly CaSummary[]>;
  /** The id of the prepared CA. */
  prepare(role: ReplacedRole): Promise<string>;
  activate(id: string): Promise<void>;
  taint(id: string, withinMs: number): Promise<RenewalRequest>;
  /** Has the devices that are drilled renew as soon as the budget allows. */
  requestRenewals(): Promise<RenewalRequest>;
  /** `would strand`: refused, because more devices and services than `strand` hold nothing else. */
  retire(id: string, strand: number): Promise<'retired' | 'would strand'>;
  /** Key and certificate of an issuing CA, as a thief of both has them. */
  readIssuingCa(id: string): Promise<StolenCa>;
  /** Messages of the journal as NDJSON. */
  messages(): AsyncIterable<Buffer>;
}

export interface DrillOptions {
  readonly operator: DrillOperator;
  readonly replaced: ReplacedRole;
  /** `mqtts://host:port` of the server that is drilled. */
  readonly mqttUrl: string;
  /** One or more, beside those that are sent through the mishaps. */
  readonly devices: number;
  /** In which the whole fleet is asked to renew, milliseconds. */
  readonly withinMs: number;
  /** Devices choose their moment in the first part of each window, more than 0 and at most 1, as `FleetOptions.haste`. */
  readonly haste: number;
  readonly signal: AbortSignal;
  readonly onStage: (stage: DrillStage) => void;
  /** One line now and then, while a stage is under way. */
  readonly onProgress: (line: string) => void;
  readonly now: () => number;
}

export interface DrillStage {
  readonly name: string;
  readonly ms: number;
  readonly said: string;
}

/** What became of a device that was sent through a mishap. */
export interface Mishap {
  readonly name:
    | 'away'
    | 'left'
    | 'unrenewed'
    | 'clock slow'
    | 'clock fast'
    | 'pinned'
    | 'unpacked meanwhile'
    | 'unpacked afterwards';
  readonly about: string;
  readonly expected: 'kept' | 'lost';
  readonly found: 'kept' | 'lost';
  readonly said: string;
  /** What an operator can do for such a device; undefined where nothing is needed. */
  readonly remedy: string | undefined;
}

/** What an attacker with the key of the replaced issuing CA achieves against devices that reach no other server. */
export interface Theft {
  /** Devices that have seen the rotation, and how many of them spoke to the thief or trust a root of his. */
  readonly aware: { readonly tempted: number; readonly captured: number };
  /** Devices that were offline from before the rotation: those that spoke to him, and those that trust a root of his or lost theirs. */
  readonly unaware: { readonly tempted: number; readonly believed: number; readonly captured: number };
}

/** How devices came to trust another root. */
export interface TrustChange {
  /** From the moment the new root was in the bundle until every device had it on record, milliseconds. */
  readonly learnedMs: number;
  /** When the cross-certificate of the old root for the new one expires, ISO 8601: until then devices that trust only the old root can connect. */
  readonly vouchedUntil: string;
}

export interface DrillReport {
  readonly replaced: ReplacedRole;
  readonly verdict: 'passed' | 'failed';
  /** What was expected and what was found, for everything that isn't as it should be. */
  readonly failures: readonly string[];
  readonly stages: readonly DrillStage[];
  readonly devices: number;
  readonly enrolledPerSecond: number;
  /** Renewals, from the first to the last. */
  readonly renewedPerSecond: number;
  readonly renewed: number;
  readonly sessionsDropped: number;
  readonly messages: {
    readonly sent: number;
    readonly acknowledged: number;
    /** Acknowledged, and not in the journal. */
    readonly lost: number;
  };
  readonly mishaps: readonly Mishap[];
  readonly theft: Theft;
  /** Absent where the root stayed. */
  readonly trust?: TrustChange;
}
