import type { DeviceId, GroupName } from '@rollcall/protocol';
import { expectLimit } from './audit.ts';
import type { RegistryDatabase } from './database.ts';
import { readLabels, writeLabels } from './labels.ts';
import type { Actor, DeviceFilter, DeviceRecord, DeviceStatus, Labels, RevocationReason } from './registry.ts';
import type { SqlValue, Transaction } from './transaction.ts';

interface DeviceRow {
  readonly id: DeviceId;
  readonly group_name: GroupName;
  readonly labels: string;
  readonly enrolled_at: number;
  readonly enrolled_by: Actor;
  readonly revoked_at: number | null;
  readonly revocation_reason: RevocationReason | null;
  readonly restriction: 'suspended' | 'quarantined' | null;
  readonly restricted_at: number | null;
}

/** A deleted device is not found. */
export function findDevice(tx: Transaction, id: DeviceId): DeviceRecord | undefined {
  const row = tx.get<DeviceRow>('SELECT * FROM devices WHERE id = @id AND deleted_at IS NULL', { id });
  return row && readRow(row);
}

/** Creates or overwrites the device: active, with the group and labels of its latest token. */
export function writeDevice(
  tx: Transaction,
  device: { readonly id: DeviceId; readonly group: GroupName; readonly labels: Labels; readonly enrolledBy: Actor },
): DeviceRecord {
  tx.run(
    `INSERT INTO devices (id, group_name, labels, enrolled_at, enrolled_by)
     VALUES (@id, @group, @labels, @now, @by)
     ON CONFLICT (id) DO UPDATE SET
       group_name = excluded.group_name, labels = excluded.labels, enrolled_at = excluded.enrolled_at,
       enrolled_by = excluded.enrolled_by, revoked_at = NULL, revocation_reason = NULL,
       restriction = NULL, restricted_at = NULL, deleted_at = NULL`,
    { id: device.id, group: device.group, labels: writeLabels(device.labels), now: tx.now, by: device.enrolledBy },
  );
  return {
    ...device,
    status: 'active',
    restrictedAt: undefined,
    enrolledAt: tx.now,
    revokedAt: undefined,
    revocationReason: undefined,
  };
}

/** For a condition of SQL. */
export const STATUS_IS: Readonly<Record<DeviceStatus, string>> = {
  active: 'revoked_at IS NULL AND restriction IS NULL',
  suspended: `revoked_at IS NULL AND restriction = 'suspended'`,
  quarantined: `revoked_at IS NULL AND restriction = 'quarantined'`,
  revoked: 'revoked_at IS NOT NULL',
};

/** In id order. Throws Problem `request_invalid` for a limit outside 1 to 10,000. */
export function listDevices(database: RegistryDatabase, filter: DeviceFilter): readonly DeviceRecord[] {
  const conditions = ['id > @after', 'deleted_at IS NULL'];
  const parameters: Record<string, SqlValue> = { after: filter.after ?? '', limit: expectLimit(filter.limit) };
  if (filter.group !== undefined) {
    conditions.push('group_name = @group');
    parameters.group = filter.group;
  }
  if (filter.status !== undefined) conditions.push(STATUS_IS[filter.status]);
  const sql = `SELECT * FROM devices WHERE ${conditions.join(' AND ')} ORDER BY id LIMIT @limit`;
  return database.read((tx) => tx.all<DeviceRow>(sql, parameters)).map(readRow);
}

function readRow(row: DeviceRow): DeviceRecord {
  return {
    id: row.id,
    group: row.group_name,
    labels: readLabels(row.labels),
    status: row.revoked_at === null ? (row.restriction ?? 'active') : 'revoked',
    restrictedAt: row.restricted_at ?? undefined,
    enrolledAt: row.enrolled_at,
    enrolledBy: row.enrolled_by,
    revokedAt: row.revoked_at ?? undefined,
    revocationReason: row.revocation_reason ?? undefined,
  };
}
