import type { DeviceId, GroupName } from '@rollcall/protocol';
import type { ListenerResult } from '../listeners.ts';
import type { NodeOutcome } from '../node-outcome.ts';
import type { Actor, DeviceStatus, Labels, Revocation, RevocationReason } from '../registry.ts';

export const DEVICE_OPERATION_KINDS = ['revoke', 'suspend', 'resume', 'quarantine', 'disconnect', 'delete'] as const;
export type DeviceOperationKind = (typeof DEVICE_OPERATION_KINDS)[number];

export type DeviceOperation =
  | { readonly kind: 'revoke'; readonly reason: RevocationReason }
  | { readonly kind: Exclude<DeviceOperationKind, 'revoke'> };

/** A committed change of one device; `set` is a change of group or labels. */
export interface DeviceChange {
  readonly device: DeviceId;
  readonly operation: DeviceOperationKind | 'set';
  readonly status: DeviceStatus | 'deleted';
  /** When the device got this status; the earlier time when it already had it. */
  readonly at: number;
}

/** The answer of one broker after it has ended or re-authorized the sessions of a device. */
export interface TerminationReport {
  readonly sessionsClosed: number;
  /** When the broker last read a message of the sessions that were live; undefined when there was none. */
  readonly lastMessageAt: number | undefined;
  /** What each node of this broker did; one that confirmed when left out. */
  readonly nodes?: readonly NodeOutcome[];
}

/** What is known of the end of sessions, from the reports of all brokers. */
export interface TerminationSummary {
  readonly sessionsClosed: number;
  readonly lastMessageAt: number | undefined;
  readonly brokersConfirmed: number;
  /** In the order of their names. */
  readonly nodes: readonly NodeOutcome[];
}

/** The last change of a device that several nodes had to apply. */
export interface LastDeviceChange {
  readonly operation: DeviceChange['operation'] | 'revoke a certificate';
  /** Milliseconds since the epoch, by the database's clock. */
  readonly at: number;
  /** As they are now. */
  readonly nodes: readonly NodeOutcome[];
}

/** The result for one device: committed, and confirmed by every broker that its nodes name as such. */
export interface DeviceOperationResult extends DeviceChange, TerminationSummary {
  /** The certificates that the operation revoked, and the recorded reason. */
  readonly serials: readonly string[];
  readonly reason: RevocationReason | undefined;
  /** From the commit to the last broker's confirmation, milliseconds, with fractions. */
  readonly propagationMs: number;
}

/** Selects the devices that match every given criterion. */
export interface DeviceSelector {
  readonly ids?: readonly DeviceId[];
  readonly group?: GroupName;
  /** A device matches when it has all of them. */
  readonly labels?: Labels;
  /** Holders of an unrevoked certificate that was issued from this bootstrap token, directly or by renewal. */
  readonly token?: string;
  /** The holder of this certificate. */
  readonly serial?: string;
  /** Devices whose newest unrevoked certificate was issued before this time. */
  readonly issuedBefore?: number;
}

export interface DeviceSelection {
  /** In id order. */
  readonly ids: readonly DeviceId[];
  /** Code for exactly this operation on exactly these devices. Not a secret: it prevents mistakes, not attacks. */
  readonly confirmation: string;
}

/** A broker returns a report; other listeners return nothing. */
export type TerminationResult = ListenerResult<TerminationReport>;

export interface DeviceOperations {
  /**
   * Returns the devices that an operation would change. A device that is selected by its id is always included. Problem
   * `device_unknown` for an unknown id, `request_invalid` for a selector without a criterion.
   */
  selectDevices(selector: DeviceSelector, operation: DeviceOperation): Promise<DeviceSelection>;
  /**
   * Applies one operation to devices, in transactions of at most 100, waits until every listener has confirmed, then
   * resolves in id order. One unknown id refuses the whole operation with Problem `device_unknown`; suspending, resuming
   * or quarantining a revoked device, with `device_revoked`. A device that already has the status is not changed, and its
   * listeners are notified again.
   */
  applyDeviceOperation(
    ids: readonly DeviceId[],
    operation: DeviceOperation,
    actor: Actor,
  ): Promise<readonly DeviceOperationResult[]>;
  /** `applyDeviceOperation` with `revoke`; returns the revocations that listeners received. */
  revokeDevices(ids: readonly DeviceId[], reason: RevocationReason, actor: Actor): Promise<readonly Revocation[]>;
  /**
   * What each node did until now about the last change of a device, within an hour of it. Undefined later, where one process has the
   * registry, and for a device that nothing was done to.
   */
  lastDeviceChange(id: DeviceId): Promise<LastDeviceChange | undefined>;
  /** Called after the commit of every change that is not a revocation; the operation waits for the listener. */
  onDeviceChange(listener: (change: DeviceChange) => TerminationResult): () => void;
}
