/** What the thread that opened the journal (the keeper) and the threads with an intake of their own (the nodes) tell each other. */

import type { MessagePort } from 'node:worker_threads';
import type { DiskState } from '../../storage/index.ts';
import type { IntakeCounters, IntakeLimits } from '../intake.ts';
import type { DayCounts } from '../share-ledger.ts';
import type { HeldNames } from '../storage-shares.ts';

/** What a node stored since its report before, and the state of its intake. */
export interface NodeReport {
  readonly counters: IntakeCounters;
  /** Of the newest message that it stored; 0 before the first. */
  readonly newestPosition: number;
  /** Payload, stored. */
  readonly storedBytes: number;
  /** Seconds of each commit, from the arrival of its first message on. */
  readonly commitSeconds: readonly number[];
  readonly devices: readonly DayCounts[];
  readonly groups: readonly DayCounts[];
}

/** The calls that the keeper answers. */
export interface KeeperCalls {
  /** Answered when it is counted. A node stops to store when too much of what it stored is not. */
  readonly report: { readonly input: NodeReport; readonly output: undefined };
  /** Another port to the journal, after the one before it was closed. Rejects as the opening of the journal does. */
  readonly journal: { readonly input: undefined; readonly output: MessagePort };
  /** The streams that each of these devices has. */
  readonly streams: { readonly input: readonly string[]; readonly output: readonly (readonly string[])[] };
  /** The node admitted a stream that the device did not have. */
  readonly streamAdmitted: {
    readonly input: { readonly device: string; readonly stream: string };
    readonly output: undefined;
  };
}

/** What a node is told. */
export interface NodeCalls {
  readonly disk: { readonly input: DiskState; readonly output: undefined };
  /** Of one device. */
  readonly deviceHeld: {
    readonly input: { readonly device: string; readonly isHeld: boolean };
    readonly output: undefined;
  };
  /** All that are held; no others are. */
  readonly held: { readonly input: HeldNames; readonly output: undefined };
  /** The streams of devices were counted again. */
  readonly streamsCounted: { readonly input: undefined; readonly output: undefined };
}

/** What a node needs; it can be cloned into another thread once, with the ports transferred. */
export interface NodeConnection {
  readonly keeper: MessagePort;
  /** To the thread that writes the journal (`AppendCalls`). */
  readonly journal: MessagePort;
  readonly limits: IntakeLimits;
  readonly maxStreams: number;
  readonly shares: NodeShareSettings;
  readonly disk: DiskState;
}

export interface NodeShareSettings {
  /** Whether anything is counted. */
  readonly isCounted: boolean;
  /** Bytes of one device that are reported without delay. */
  readonly step: number;
  readonly held: HeldNames;
}
