import type { DeviceId, GroupName } from '@rollcall/protocol';
import {
  type Actor,
  DEVICE_STATUSES,
  type DeviceRecord,
  type DeviceStatus,
  type Labels,
  type RevocationReason,
} from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { writeTerms } from './device-terms.ts';
import { readLabels, writeLabels } from './labels.ts';
import { type PresenceRow, readPresence } from './presence.ts';

export interface DeviceRow extends PresenceRow {
  readonly id: DeviceId;
  readonly group_name: GroupName;
  readonly labels: string;
  readonly enrolled_at: number;
  readonly enrolled_by: Actor;
  readonly revoked_at: number | null;
  readonly revocation_reason: RevocationReason | null;
  readonly restricted_at: number | null;
  readonly deleted_at: number | null;
  readonly status: DeviceStatus | 'deleted';
  readonly certificate_ends_at: number | null;
}

/** A deleted device is not found. */
export function* findDevice(tx: Transaction, id: DeviceId): Steps<DeviceRecord | undefined> {
  const row = yield* tx.get<DeviceRow>('SELECT * FROM devices WHERE id = @id AND deleted_at IS NULL', { id });
  return row && readDevice(row);
}

/** Those that there are. */
export function* findDevices(tx: Transaction, ids: readonly DeviceId[]): Steps<ReadonlyMap<DeviceId, DeviceRecord>> {
  const rows = yield* tx.all<DeviceRow>(
    `SELECT devices.* FROM json_each(@ids) AS wanted CROSS JOIN devices ON devices.id = wanted.value
     WHERE deleted_at IS NULL`,
    { ids: JSON.stringify(ids) },
  );
  return new Map(rows.map((row) => [row.id, readDevice(row)]));
}

/** Reads at most so many entries of the index for each status. */
export function* countDevices(tx: Transaction, most: number): Steps<Readonly<Record<DeviceStatus, number>>> {
  const counts: Partial<Record<DeviceStatus, number>> = {};
  for (const status of DEVICE_STATUSES) {
    const found = yield* tx.get<{ readonly n: number }>(
      `SELECT count(*) AS n FROM (
         SELECT 1 FROM devices INDEXED BY devices_by_status WHERE status = @status LIMIT @most
       ) AS counted`,
      { status, most },
    );
    counts[status] = found?.n ?? 0;
  }
  return counts as Record<DeviceStatus, number>;
}

/** Reads the index of groups alone. */
export function* countGroups(
  tx: Transaction,
): Steps<readonly { readonly group: GroupName; readonly devices: number }[]> {
  return yield* tx.all(
    `SELECT group_name AS "group", count(*) AS devices FROM devices INDEXED BY devices_of_group
     WHERE revoked_at IS NULL AND deleted_at IS NULL GROUP BY group_name ORDER BY group_name LIMIT 10000`,
    {},
  );
}

/** Creates or overwrites the device: active, with the group and labels of its latest token. */
export function* writeDevice(
  tx: Transaction,
  device: { readonly id: DeviceId; readonly group: GroupName; readonly labels: Labels; readonly enrolledBy: Actor },
): Steps<DeviceRecord> {
  const earlier = yield* tx.get<DeviceRow>('SELECT * FROM devices WHERE id = @id', { id: device.id });
  const described = earlier?.deleted_at === null ? { id: device.id, labels: readLabels(earlier.labels) } : undefined;
  yield* writeTerms(tx, described, device);
  yield* tx.run(
    `INSERT INTO devices (id, group_name, labels, enrolled_at, enrolled_by)
     VALUES (@id, @group, @labels, @now, @by)
     ON CONFLICT (id) DO UPDATE SET
       group_name = excluded.group_name, labels = excluded.labels, enrolled_at = excluded.enrolled_at,
       enrolled_by = excluded.enrolled_by, revoked_at = NULL, revocation_reason = NULL,
       restriction = NULL, restricted_at = NULL, deleted_at = NULL`,
    { id: device.id, group: device.group, labels: writeLabels(device.labels), now: tx.now, by: device.enrolledBy },
  );
  const presence = described && earlier && readPresence(earlier);
  return {
    ...device,
    ...(presence !== undefined && { presence }),
    status: 'active',
    restrictedAt: undefined,
    enrolledAt: tx.now,
    revokedAt: undefined,
    revocationReason: undefined,
  };
}

/** The end of the newest certificate that is not revoked, as the list of devices shows it. Called when that may have changed. */
export function* updateCertificateEnd(tx: Transaction, id: DeviceId): Steps<void> {
  yield* tx.run(
    `UPDATE devices SET certificate_ends_at = (
       SELECT not_after FROM certificates WHERE device_id = @id AND revoked_at IS NULL
       ORDER BY issued_at DESC, rowid DESC LIMIT 1
     ) WHERE id = @id`,
    { id },
  );
}

export function readDevice(row: DeviceRow): DeviceRecord {
  const presence = readPresence(row);
  return {
    id: row.id,
    group: row.group_name,
    labels: readLabels(row.labels),
    status: row.status as DeviceStatus,
    restrictedAt: row.restricted_at ?? undefined,
    enrolledAt: row.enrolled_at,
    enrolledBy: row.enrolled_by,
    revokedAt: row.revoked_at ?? undefined,
    revocationReason: row.revocation_reason ?? undefined,
    ...(row.certificate_ends_at !== null && { certificateEndsAt: row.certificate_ends_at }),
    ...(presence !== undefined && { presence }),
  };
}
