import type { DeviceId, GroupName } from '@rollcall/protocol';
import type { Actor, DeviceStatus, Labels, Revocation, RevocationReason } from './registry.ts';

export const DEVICE_OPERATION_KINDS = ['revoke', 'suspend', 'resume', 'quarantine', 'disconnect', 'delete'] as const;
export type DeviceOperationKind = (typeof DEVICE_OPERATION_KINDS)[number];

export type DeviceOperation =
  | { readonly act: 'revoke'; readonly reason: RevocationReason }
  | { readonly act: Exclude<DeviceOperationKind, 'revoke'> };

/** What was committed about one device; `set` is a change of group or labels. */
export interface DeviceChange {
  readonly device: DeviceId;
  readonly act: DeviceOperationKind | 'set';
  readonly status: DeviceStatus | 'deleted';
  /** When it became so; for what was so already, the time of then. */
  readonly at: number;
}

/** What one broker says when it has done its part. */
export interface TerminationReport {
  readonly sessionsClosed: number;
  /** When it last read a message of the device, of sessions that were live; undefined when there was none. */
  readonly lastMessageAt: number | undefined;
}

/** One device, acted upon: committed, told, and confirmed by every broker. */
export interface DeviceOperationResult extends DeviceChange {
  /** The certificates that the act ended, and why they were. */
  readonly serials: readonly string[];
  readonly reason: RevocationReason | undefined;
  readonly sessionsClosed: number;
  readonly lastMessageAt: number | undefined;
  readonly brokersConfirmed: number;
  /** From the commit to the last broker's confirmation, milliseconds, with fractions. */
  readonly propagationMs: number;
}

/** Which devices are meant: those for which all that is given is true. */
export interface DeviceSelector {
  readonly ids?: readonly DeviceId[];
  readonly group?: GroupName;
  /** Each of them. */
  readonly labels?: Labels;
  /** Holders of a certificate, not revoked, whose line began with this bootstrap token. */
  readonly token?: string;
  /** The holder of this certificate. */
  readonly serial?: string;
  /** Those whose newest certificate, not revoked, was issued before this time. */
  readonly issuedBefore?: number;
}

export interface DeviceSelection {
  /** In id order. */
  readonly ids: readonly DeviceId[];
  /** Stands for exactly this order on exactly these devices. No secret: it protects from surprise, not from attack. */
  readonly confirmation: string;
}

/** Cumulative counts, as Prometheus has them. */
export interface Histogram {
  /** Upper bounds in seconds, ascending, the last infinite. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
  readonly sum: number;
  readonly count: number;
}

/** Brokers confirm; other listeners give nothing back. */
// biome-ignore lint/suspicious/noConfusingVoidType: they are functions without a result
export type Confirming = void | TerminationReport | Promise<void | TerminationReport>;

export interface DeviceOperations {
  /**
   * Whom an order would concern. Leaves out those it would change nothing about, unless they are named by their ids.
   * Problem `device_unknown` for an id without a device, `request_invalid` for a selector that says nothing.
   */
  selectDevices(selector: DeviceSelector, order: DeviceOperation): Promise<DeviceSelection>;
  /**
   * Does one thing to devices, in transactions of at most 100, waits until every listener has confirmed, then resolves
   * in id order. Unknown ids refuse the whole act with Problem `device_unknown`; suspending, resuming or quarantining a
   * revoked device with `device_revoked`. What is so already changes nothing and is told again.
   */
  applyDeviceOperation(
    ids: readonly DeviceId[],
    order: DeviceOperation,
    actor: Actor,
  ): Promise<readonly DeviceOperationResult[]>;
  /** `applyDeviceOperation` with the order `revoke`, as the revocations that its listeners heard of. */
  revokeDevices(ids: readonly DeviceId[], reason: RevocationReason, actor: Actor): Promise<readonly Revocation[]>;
  /** How long acts that end or restrict a session took until every broker had confirmed them, in seconds. */
  terminationLatency(): Histogram;
  /** Called after the commit of every other change of a device; whoever made it waits. */
  onDeviceChange(listener: (change: DeviceChange) => Confirming): () => void;
}
