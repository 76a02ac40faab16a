import type { DeviceId, GroupName } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { Steps, Transaction } from '../transaction.ts';

export interface PulledWindow {
  readonly start: number;
  readonly end: number;
  readonly reason: 'pulled_forward' | 'ca_rotation';
}

/** The current certificate of a device, or any valid one of a service: a service may run on several machines. */
export interface CurrentCertificate {
  /** Device and group are undefined for a service. */
  readonly device: DeviceId | undefined;
  readonly group: GroupName | undefined;
  readonly serial: string;
  readonly issuerId: string | undefined;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly pulled: PulledWindow | undefined;
}

export interface CurrentFilter {
  readonly group?: GroupName | undefined;
  readonly issuerId?: string | undefined;
  /** Devices after this id, in id order: the page after it. */
  readonly after?: DeviceId | undefined;
  /** 1 to 10,000. */
  readonly limit: number;
}

export interface ServiceCertificateFilter {
  readonly issuerId?: string | undefined;
  /** The page after this serial. */
  readonly after?: string | undefined;
  /** 1 to 10,000. */
  readonly limit: number;
}

export interface RenewalWindowStore {
  /** Of devices that are not revoked and hold a valid certificate; a page, in the order of device ids. */
  listCurrentCertificates(filter: CurrentFilter): Promise<readonly CurrentCertificate[]>;
  /** Valid certificates of services, of one CA if it is given; a page, in the order of serials. */
  listServiceCertificates(filter: ServiceCertificateFilter): Promise<readonly CurrentCertificate[]>;
  /** Valid certificates of devices and services. */
  countLiveCertificates(): Promise<number>;
  /** Undefined when the serial's window was not pulled forward. */
  findPulledWindow(serial: string): Promise<PulledWindow | undefined>;
  /** One batch. A later window never replaces an earlier one. Returns how many changed. */
  pullWindows(windows: readonly (PulledWindow & { readonly serial: string })[]): Promise<number>;
}

export function createRenewalWindowStore(database: RegistryDatabase): RenewalWindowStore {
  return {
    listCurrentCertificates: async (filter) => database.read((tx) => listCurrent(tx, filter)),
    listServiceCertificates: async (filter) => database.read((tx) => listOfServices(tx, filter)),
    countLiveCertificates: async () =>
      database.read(function* (tx) {
        return (
          (yield* tx.get<{ n: number }>(
            `SELECT count(*) AS n FROM certificates
             WHERE revoked_at IS NULL AND server_name IS NULL AND not_after > @now`,
            { now: tx.now },
          ))?.n ?? 0
        );
      }),
    findPulledWindow: async (serial) =>
      database.read((tx) =>
        tx.get<PulledWindow>(
          'SELECT window_start AS start, window_end AS end, reason FROM renewal_windows WHERE serial = @serial',
          { serial },
        ),
      ),
    pullWindows: async (windows) => database.write((tx) => pull(tx, windows)),
  };
}

interface CurrentRow {
  readonly device: DeviceId | null;
  readonly group_name: GroupName | null;
  readonly serial: string;
  readonly issuer_id: string | null;
  readonly not_before: number;
  readonly not_after: number;
  readonly window_start: number | null;
  readonly window_end: number | null;
  readonly reason: PulledWindow['reason'] | null;
}

function* listCurrent(
  tx: Transaction,
  { group, issuerId, after, limit }: CurrentFilter,
): Steps<readonly CurrentCertificate[]> {
  return (yield* tx.all<CurrentRow>(
    `SELECT devices.id AS device, group_name, c.serial, c.issuer_id, c.not_before, c.not_after,
         w.window_start, w.window_end, w.reason
       FROM devices
       JOIN certificates AS c ON c.serial = (
         SELECT serial FROM certificates WHERE device_id = devices.id AND revoked_at IS NULL AND not_after > @now
         ORDER BY issued_at DESC, rowid DESC LIMIT 1)
       LEFT JOIN renewal_windows AS w ON w.serial = c.serial
       WHERE devices.id > @after AND devices.revoked_at IS NULL
         AND (CAST(@group AS TEXT) IS NULL OR group_name = @group) AND (CAST(@issuer AS TEXT) IS NULL OR c.issuer_id = @issuer)
       ORDER BY devices.id LIMIT @limit`,
    { now: tx.now, after: after ?? '', group: group ?? null, issuer: issuerId ?? null, limit },
  )).map(readRow);
}

function* listOfServices(
  tx: Transaction,
  { issuerId, after, limit }: ServiceCertificateFilter,
): Steps<readonly CurrentCertificate[]> {
  return (yield* tx.all<CurrentRow>(
    `SELECT NULL AS device, NULL AS group_name, c.serial, c.issuer_id, c.not_before, c.not_after,
         w.window_start, w.window_end, w.reason
       FROM certificates AS c INDEXED BY certificates_by_service
       LEFT JOIN renewal_windows AS w ON w.serial = c.serial
       WHERE c.service_name IS NOT NULL AND c.revoked_at IS NULL AND c.not_after > @now AND c.serial > @after
         AND (CAST(@issuer AS TEXT) IS NULL OR c.issuer_id = @issuer)
       ORDER BY c.serial LIMIT @limit`,
    { now: tx.now, after: after ?? '', issuer: issuerId ?? null, limit },
  )).map(readRow);
}

function readRow(row: CurrentRow): CurrentCertificate {
  return {
    device: row.device ?? undefined,
    group: row.group_name ?? undefined,
    serial: row.serial,
    issuerId: row.issuer_id ?? undefined,
    notBefore: row.not_before,
    notAfter: row.not_after,
    pulled:
      row.window_start === null || row.window_end === null || row.reason === null
        ? undefined
        : { start: row.window_start, end: row.window_end, reason: row.reason },
  };
}

function* pull(tx: Transaction, windows: readonly (PulledWindow & { readonly serial: string })[]): Steps<number> {
  return yield* tx.runEach(
    `INSERT INTO renewal_windows (serial, window_start, window_end, reason, set_at)
     VALUES (@serial, @start, @end, @reason, @now)
     ON CONFLICT (serial) DO UPDATE SET window_start = @start, window_end = @end, reason = @reason, set_at = @now
     WHERE @end < renewal_windows.window_end`,
    windows.map(({ serial, start, end, reason }) => ({ serial, start, end, reason, now: tx.now })),
  );
}
