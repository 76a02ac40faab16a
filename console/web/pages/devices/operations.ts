/** Operations on devices: what each means, which devices it changes, and the requests. docs/device-status.md has the table. */

import { type AnswerOf, api } from '../../api.ts';
import type { Reason } from '../../parts/reason-field.tsx';
import type { ListedDevice } from './fleet-event.ts';

export type OperationKind = AnswerOf<'POST /v1/devices/select'>['act'];
export type OperationResult = AnswerOf<'POST /v1/devices/revoke'>;

export interface Operation {
  readonly title: string;
  /** What happens to the devices. */
  readonly meaning: string;
  /** Devices of another status stay as they are. */
  readonly statuses: readonly ListedDevice['status'][];
  /** It cannot be taken back: the operator types what happens. */
  readonly isFinal: boolean;
}

const ANY = ['active', 'suspended', 'quarantined', 'revoked'] as const;

export const OPERATIONS: Readonly<Record<OperationKind, Operation>> = {
  disconnect: {
    title: 'Disconnect',
    meaning: 'Their sessions end. They may connect again at once.',
    statuses: ['active', 'suspended', 'quarantined'],
    isFinal: false,
  },
  suspend: {
    title: 'Suspend',
    meaning:
      'Their sessions end, and connections and renewals are refused until they are resumed. Queues and subscriptions stay.',
    statuses: ['active', 'quarantined'],
    isFinal: false,
  },
  quarantine: {
    title: 'Quarantine',
    meaning: 'They stay connected under the policy quarantine/*, which by default allows commands and responses alone.',
    statuses: ['active'],
    isFinal: false,
  },
  resume: {
    title: 'Resume',
    meaning: 'Suspension or quarantine ends: they are active again.',
    statuses: ['suspended', 'quarantined'],
    isFinal: false,
  },
  revoke: {
    title: 'Revoke',
    meaning:
      'All their certificates are revoked for good, and their sessions, queues and subscriptions end. To return, a device needs a new token created for it.',
    statuses: ['active', 'suspended', 'quarantined'],
    isFinal: true,
  },
  delete: {
    title: 'Delete',
    meaning:
      'They are revoked and removed from the list, and their ids are free. Telemetry that they sent stays until its retention ends.',
    statuses: ANY,
    isFinal: true,
  },
};

export const OPERATION_ORDER = ['disconnect', 'suspend', 'resume', 'quarantine', 'revoke', 'delete'] as const;

export interface OperationOrder {
  readonly kind: OperationKind;
  readonly ids: readonly string[];
  readonly reason: Reason;
}

/** A dry run: how many devices it would change, and the confirmation for exactly these. */
export function dryRun({ kind, ids, reason }: OperationOrder, signal: AbortSignal) {
  const body = { ids: [...ids], act: kind, ...(kind === 'revoke' && { reason }) };
  return api('POST /v1/devices/select', { body, signal });
}

export function perform(order: OperationOrder, confirm: string, idempotencyKey: string): Promise<OperationResult> {
  const { kind, reason } = order;
  const selected = { ids: [...order.ids], confirm };
  if (kind === 'revoke') return api('POST /v1/devices/revoke', { body: { ...selected, reason }, idempotencyKey });
  return api(`POST /v1/devices/${kind}`, { body: selected, idempotencyKey });
}
