import { DEFAULT_GROUP, type DeviceId, type GroupName, type ServiceName } from '@rollcall/protocol';
import type { Awaitable, RegistryDatabase } from '../database.ts';
import { readLabels } from '../devices/labels.ts';
import type { CertificateStatus, Labels, RevocationReason } from '../registry.ts';

/**
 * Not a join: SQLite plans a join again whenever its parameter changes, at three times the cost. The device comes in one
 * text, `group|restriction|labels`, because each column of its own would look the device up again.
 */
const STATUS_QUERY = `
  SELECT device_id, service_name, not_after, revoked_at, revocation_reason,
    CASE WHEN parent_serial IS NOT NULL AND proven_at IS NULL THEN 1 END AS unproven, superseded_at,
    (SELECT group_name || '|' || coalesce(restriction, '') || '|' || labels FROM devices WHERE id = device_id) AS about
  FROM certificates WHERE serial = ?`;

type StatusRow = readonly [
  device: DeviceId | null,
  service: ServiceName | null,
  notAfter: number,
  revokedAt: number | null,
  reason: RevocationReason | null,
  unproven: 1 | null,
  supersededAt: number | null,
  about: string | null,
];

const NO_LABELS: Labels = Object.freeze(Object.create(null));
const UNKNOWN: CertificateStatus = { state: 'unknown' };

export function findCertificateStatus(database: RegistryDatabase, serial: string): Awaitable<CertificateStatus> {
  return database.readRow<StatusRow, CertificateStatus>(STATUS_QUERY, serial, readStatus);
}

function readStatus(row: StatusRow | undefined, now: () => number): CertificateStatus {
  if (row === undefined) return UNKNOWN;
  const [device, service, notAfter, revokedAt, reason, unproven, supersededAt, about] = row;
  if (device !== null) {
    const holder = { kind: 'device', id: device } as const;
    if (revokedAt !== null) return { state: 'revoked', holder, revokedAt, reason: reason ?? 'unspecified' };
    if (supersededAt !== null && supersededAt <= now()) return { state: 'superseded', holder, supersededAt };
    // Neither a group nor a restriction can contain the separator.
    const [group, restriction, ...labels] = (about ?? '').split('|');
    if (group === undefined || restriction === undefined || group === '') return UNKNOWN;
    if (restriction === 'suspended') return { state: 'suspended', holder };
    if (restriction !== '' && restriction !== 'quarantined') return UNKNOWN;
    const state = restriction === '' ? 'good' : 'quarantined';
    const good = { state, holder, group: group as GroupName, labels: labelsOf(labels.join('|')), notAfter } as const;
    return unproven === null ? good : { ...good, isUnused: true };
  }
  if (service === null) return UNKNOWN;
  const holder = { kind: 'service', name: service } as const;
  if (revokedAt !== null) return { state: 'revoked', holder, revokedAt, reason: reason ?? 'unspecified' };
  return { state: 'good', holder, group: DEFAULT_GROUP, labels: NO_LABELS, notAfter };
}

function labelsOf(json: string): Labels {
  return json === '{}' ? NO_LABELS : readLabels(json);
}
