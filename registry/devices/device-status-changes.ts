import { type DeviceId, type Identity, Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import { recordedRevocation, revokeHolder } from '../certificates/revoke-holder.ts';
import type { Actor, DeviceRecord, DeviceStatus, Revocation } from '../registry.ts';
import { revokeTokensFor } from '../tokens/tokens.ts';
import type { Steps, Transaction } from '../transaction.ts';
import type { DeviceChange, DeviceOperation } from './device-operation-types.ts';
import { writeTerms } from './device-terms.ts';
import { findDevice } from './devices.ts';

/** What one operation committed for one device. */
export interface CommittedOperation {
  readonly change: DeviceChange;
  /** Of operations that revoke certificates. */
  readonly revocation: Revocation | undefined;
}

/** Names up to five ids that do not exist or, where it matters, are revoked; undefined when the operation can be applied. */
export function* findOperationProblem(
  tx: Transaction,
  ids: readonly DeviceId[],
  operation: DeviceOperation,
): Steps<Problem | undefined> {
  const found: (readonly [DeviceId, DeviceStatus | undefined])[] = [];
  for (const id of ids) found.push([id, (yield* findDevice(tx, id))?.status]);
  const unknown = found.filter(([, status]) => status === undefined);
  if (unknown.length > 0) {
    return new Problem('device_unknown', { detail: `there is no device ${names(unknown)}; nothing was done` });
  }
  if (operation.kind === 'revoke' || operation.kind === 'delete' || operation.kind === 'disconnect') return undefined;
  const revoked = found.filter(([, status]) => status === 'revoked');
  if (revoked.length === 0) return undefined;
  return new Problem('device_revoked', { detail: `${names(revoked)} was revoked, which is final; nothing was done` });
}

function names(found: readonly (readonly [DeviceId, unknown])[]): string {
  const first = found.slice(0, 5).map(([id]) => id);
  return `${first.join(', ')}${found.length > 5 ? ` and ${found.length - 5} more` : ''}`;
}

export function* applyToDevice(
  tx: Transaction,
  id: DeviceId,
  operation: DeviceOperation,
  actor: Actor,
): Steps<CommittedOperation> {
  const device = yield* findDevice(tx, id);
  if (device === undefined) throw new Problem('device_unknown', { reason: `found no device ${id}` });
  switch (operation.kind) {
    case 'revoke':
      return yield* revoke(tx, device, operation.reason, actor);
    case 'delete':
      return yield* deleteDevice(tx, device, actor);
    case 'suspend':
      return yield* restrict(tx, device, operation.kind, 'suspended', actor);
    case 'quarantine':
      return yield* restrict(tx, device, operation.kind, 'quarantined', actor);
    case 'resume':
      return yield* resume(tx, device, actor);
    case 'disconnect':
      recordDone(tx, { actor, action: 'device.disconnected', subject: `device/${id}` });
      return changed(device, operation.kind, device.status, tx.now);
  }
}

function* revoke(
  tx: Transaction,
  device: DeviceRecord,
  reason: Revocation['reason'],
  actor: Actor,
): Steps<CommittedOperation & { readonly revocation: Revocation }> {
  const { id } = device;
  const holder: Identity = { kind: 'device', id };
  if (device.revokedAt !== undefined) {
    const revocation = yield* recordedRevocation(tx, holder, device);
    return { ...changed(device, 'revoke', 'revoked', device.revokedAt), revocation };
  }
  yield* revokeTokensFor(tx, id, actor);
  yield* tx.run('UPDATE devices SET revoked_at = @now, revocation_reason = @reason WHERE id = @id', {
    id,
    now: tx.now,
    reason,
  });
  const revocation = yield* revokeHolder(tx, holder, 'device.revoked', { reason, actor });
  return { ...changed(device, 'revoke', 'revoked', tx.now), revocation };
}

/** Keeps the row, because certificates refer to it, and removes everything that described the device. */
function* deleteDevice(tx: Transaction, device: DeviceRecord, actor: Actor): Steps<CommittedOperation> {
  const { revocation } = yield* revoke(tx, device, 'cessationOfOperation', actor);
  const { id } = device;
  yield* writeTerms(tx, device, undefined);
  yield* tx.run(
    `UPDATE devices SET deleted_at = @now, group_name = 'default', labels = '{}', restriction = NULL,
       restricted_at = NULL, online = 0, broker = NULL, connection = NULL, connected_at = NULL, last_seen_at = NULL,
       last_address = NULL, address_key = NULL, mqtt_version = NULL, sdk_version = NULL, disconnected_at = NULL,
       disconnect_reason = NULL WHERE id = @id`,
    { id, now: tx.now },
  );
  recordDone(tx, { actor, action: 'device.deleted', subject: `device/${id}` });
  return { ...changed(device, 'delete', 'deleted', tx.now), revocation };
}

function* restrict(
  tx: Transaction,
  device: DeviceRecord,
  operation: 'suspend' | 'quarantine',
  status: 'suspended' | 'quarantined',
  actor: Actor,
): Steps<CommittedOperation> {
  expectNotRevoked(device);
  if (device.status === status) return changed(device, operation, status, device.restrictedAt ?? tx.now);
  yield* tx.run('UPDATE devices SET restriction = @status, restricted_at = @now WHERE id = @id', {
    id: device.id,
    status,
    now: tx.now,
  });
  const details = { before: device.status };
  recordDone(tx, { actor, action: `device.${status}`, subject: `device/${device.id}`, details });
  return changed(device, operation, status, tx.now);
}

function* resume(tx: Transaction, device: DeviceRecord, actor: Actor): Steps<CommittedOperation> {
  expectNotRevoked(device);
  if (device.status === 'active') return changed(device, 'resume', 'active', tx.now);
  yield* tx.run('UPDATE devices SET restriction = NULL, restricted_at = NULL WHERE id = @id', { id: device.id });
  const action = device.status === 'quarantined' ? 'device.released' : 'device.resumed';
  recordDone(tx, { actor, action, subject: `device/${device.id}` });
  return changed(device, 'resume', 'active', tx.now);
}

/** Checked again inside the transaction: a revocation may have been committed since the first check. */
function expectNotRevoked(device: DeviceRecord): void {
  if (device.status === 'revoked') throw new Problem('device_revoked', { reason: `${device.id} was revoked` });
}

function changed(
  { id }: DeviceRecord,
  operation: DeviceChange['operation'],
  status: DeviceChange['status'],
  at: number,
): CommittedOperation {
  return { change: { device: id, operation, status, at }, revocation: undefined };
}
