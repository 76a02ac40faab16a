import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { Actor, ChangeCheck, DeviceRecord, Labels } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { writeTerms } from './device-terms.ts';
import { findDevice } from './devices.ts';
import { isGroupFull } from './group-profiles.ts';
import { checkLabels, writeLabels } from './labels.ts';

export interface DeviceSettings {
  readonly group?: GroupName;
  /** Null removes a label. */
  readonly labels?: Readonly<Record<string, string | null>>;
}

/** Throws Problem `device_unknown`, `device_revoked` or, for invalid labels, `request_invalid`. */
export function* setDevice(
  tx: Transaction,
  id: DeviceId,
  change: DeviceSettings,
  actor: Actor,
  check?: ChangeCheck<DeviceRecord>,
): Steps<{ readonly device: DeviceRecord; readonly isChanged: boolean }> {
  yield* tx.lock('holder', [`device/${id}`]);
  const device = yield* findDevice(tx, id);
  if (device === undefined) throw new Problem('device_unknown');
  check?.(device);
  if (device.status === 'revoked') throw new Problem('device_revoked');
  const group = change.group ?? device.group;
  const labels = mergeLabels(device.labels, change.labels ?? {});
  checkLabels(labels, 'request_invalid');
  const text = writeLabels(labels);
  if (group === device.group && text === writeLabels(device.labels)) return { device, isChanged: false };
  if (group !== device.group && (yield* isGroupFull(tx, group))) throw new Problem('group_full');
  yield* writeTerms(tx, device, { id, labels });
  yield* tx.run('UPDATE devices SET group_name = @group, labels = @labels WHERE id = @id', { id, group, labels: text });
  const details = { group, labels: text, groupBefore: device.group, labelsBefore: writeLabels(device.labels) };
  recordDone(tx, { actor, action: 'device.set', subject: `device/${id}`, details });
  return { device: { ...device, group, labels }, isChanged: true };
}

function mergeLabels(labels: Labels, change: Readonly<Record<string, string | null>>): Labels {
  const merged: Record<string, string> = Object.create(null);
  for (const [name, value] of [...Object.entries(labels), ...Object.entries(change)]) {
    if (value === null) delete merged[name];
    else merged[name] = value;
  }
  return merged;
}
