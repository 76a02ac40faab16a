import { type DeviceId, Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { Actor, DeviceRecord, DeviceStatus, Revocation } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import type { DeviceChange, DeviceOperation } from './device-operation-types.ts';
import { writeTerms } from './device-terms.ts';
import { findDevices } from './devices.ts';
import { revokeDevices } from './revoke-devices.ts';

/** What one operation committed for one device. */
export interface CommittedOperation {
  readonly change: DeviceChange;
  /** Of operations that revoke certificates. */
  readonly revocation: Revocation | undefined;
}

/** Ids of one text. */
const READ_AT_ONCE = 1_000;

/** Names up to five ids that do not exist or, where it matters, are revoked; undefined when the operation can be applied. */
export function* findOperationProblem(
  tx: Transaction,
  ids: readonly DeviceId[],
  operation: DeviceOperation,
): Steps<Problem | undefined> {
  const statuses = new Map<DeviceId, DeviceStatus>();
  for (let from = 0; from < ids.length; from += READ_AT_ONCE) {
    const rows = yield* tx.all<{ id: DeviceId; status: DeviceStatus }>(
      `SELECT devices.id, devices.status FROM json_each(@ids) AS wanted CROSS JOIN devices ON devices.id = wanted.value
       WHERE deleted_at IS NULL`,
      { ids: JSON.stringify(ids.slice(from, from + READ_AT_ONCE)) },
    );
    for (const { id, status } of rows) statuses.set(id, status);
  }
  const found = ids.map((id) => [id, statuses.get(id)] as const);
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

/** In the order of the ids, each of which is there once. */
export function* applyToDevices(
  tx: Transaction,
  ids: readonly DeviceId[],
  operation: DeviceOperation,
  actor: Actor,
): Steps<readonly CommittedOperation[]> {
  const found = yield* findDevices(tx, ids);
  const devices = ids.map((id) => {
    const device = found.get(id);
    if (device === undefined) throw new Problem('device_unknown', { reason: `found no device ${id}` });
    return device;
  });
  switch (operation.kind) {
    case 'revoke':
      return revoked('revoke', devices, yield* revokeDevices(tx, devices, { reason: operation.reason, actor }));
    case 'delete':
      return yield* deleteDevices(tx, devices, actor);
    case 'suspend':
      return yield* restrict(tx, devices, { operation: operation.kind, status: 'suspended', actor });
    case 'quarantine':
      return yield* restrict(tx, devices, { operation: operation.kind, status: 'quarantined', actor });
    case 'resume':
      return yield* resume(tx, devices, actor);
    case 'disconnect':
      for (const { id } of devices) recordDone(tx, { actor, action: 'device.disconnected', subject: `device/${id}` });
      return devices.map((device) => changed(device, operation.kind, device.status, tx.now));
  }
}

function revoked(
  operation: 'revoke' | 'delete',
  devices: readonly DeviceRecord[],
  revocations: readonly Revocation[],
): readonly CommittedOperation[] {
  const status = operation === 'revoke' ? 'revoked' : 'deleted';
  return devices.map((device, index) => {
    const revocation = revocations[index] as Revocation;
    return { ...changed(device, operation, status, revocation.revokedAt), revocation };
  });
}

/** Keeps the rows, because certificates refer to them, and removes everything that described the devices. */
function* deleteDevices(
  tx: Transaction,
  devices: readonly DeviceRecord[],
  actor: Actor,
): Steps<readonly CommittedOperation[]> {
  const revocations = yield* revokeDevices(tx, devices, {
    reason: 'cessationOfOperation',
    actor,
    record: ({ id }) => recordDone(tx, { actor, action: 'device.deleted', subject: `device/${id}` }),
  });
  for (const device of devices) yield* writeTerms(tx, device, undefined);
  yield* tx.run(
    `UPDATE devices SET deleted_at = @now, group_name = 'default', labels = '{}', restriction = NULL,
       restricted_at = NULL, online = 0, broker = NULL, connection = NULL, connected_at = NULL, last_seen_at = NULL,
       last_address = NULL, address_key = NULL, mqtt_version = NULL, sdk_version = NULL, disconnected_at = NULL,
       disconnect_reason = NULL WHERE ${IS_WANTED}`,
    { ids: idsOf(devices), now: tx.now },
  );
  return revoked('delete', devices, revocations).map((one) => ({ ...one, change: { ...one.change, at: tx.now } }));
}

function* restrict(
  tx: Transaction,
  devices: readonly DeviceRecord[],
  {
    operation,
    status,
    actor,
  }: {
    readonly operation: 'suspend' | 'quarantine';
    readonly status: 'suspended' | 'quarantined';
    readonly actor: Actor;
  },
): Steps<readonly CommittedOperation[]> {
  devices.forEach(expectNotRevoked);
  const changing = devices.filter((device) => device.status !== status);
  yield* tx.run(`UPDATE devices SET restriction = @status, restricted_at = @now WHERE ${IS_WANTED}`, {
    ids: idsOf(changing),
    status,
    now: tx.now,
  });
  for (const device of changing) {
    const details = { before: device.status };
    recordDone(tx, { actor, action: `device.${status}`, subject: `device/${device.id}`, details });
  }
  return devices.map((device) => {
    const at = device.status === status ? (device.restrictedAt ?? tx.now) : tx.now;
    return changed(device, operation, status, at);
  });
}

function* resume(
  tx: Transaction,
  devices: readonly DeviceRecord[],
  actor: Actor,
): Steps<readonly CommittedOperation[]> {
  devices.forEach(expectNotRevoked);
  const changing = devices.filter(({ status }) => status !== 'active');
  yield* tx.run(`UPDATE devices SET restriction = NULL, restricted_at = NULL WHERE ${IS_WANTED}`, {
    ids: idsOf(changing),
  });
  for (const device of changing) {
    const action = device.status === 'quarantined' ? 'device.released' : 'device.resumed';
    recordDone(tx, { actor, action, subject: `device/${device.id}` });
  }
  return devices.map((device) => changed(device, 'resume', 'active', tx.now));
}

const IS_WANTED = 'id IN (SELECT wanted.value FROM json_each(@ids) AS wanted)';

function idsOf(devices: readonly DeviceRecord[]): string {
  return JSON.stringify(devices.map(({ id }) => id));
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
