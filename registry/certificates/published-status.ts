import { type DeviceId, Problem } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { RevocationReason, RevokedEntry } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';

/** Certificate status as CRL and OCSP publish it. */
export type PublishedStatus =
  | { readonly state: 'good' }
  | {
      readonly state: 'revoked';
      readonly revokedAt: number;
      /** `certificateHold` (RFC 5280, section 5.3.1): its device is suspended, and may be resumed. */
      readonly reason: RevocationReason | 'certificateHold';
    }
  /** This CA issued no such certificate. */
  | { readonly state: 'unknown' };

/** A certificate of a suspended device. */
export interface OnHoldEntry {
  readonly serial: string;
  readonly device: DeviceId;
  readonly heldAt: number;
}

export interface PublishedStatusStore {
  /**
   * For the CRL of a CA, in the order of revocation: revoked, and not expired for more than a week. `since`: only those
   * that were revoked at that time or later.
   */
  listRevokedBy(page: {
    readonly issuerId: string;
    readonly after?: RevokedEntry | undefined;
    readonly since?: number | undefined;
    readonly limit: number;
  }): Promise<readonly RevokedEntry[]>;
  /** The same for certificates on hold, in the order of devices and serials. None of them is revoked. */
  listHeldBy(page: {
    readonly issuerId: string;
    readonly after?: OnHoldEntry | undefined;
    readonly limit: number;
  }): Promise<readonly OnHoldEntry[]>;
  publishedStatus(issuerId: string, serial: string): Promise<PublishedStatus>;
}

export interface CrlStore {
  /** Of all CAs, in the order of revocation: revoked, and not expired for more than a week. */
  listRevoked(): Promise<readonly RevokedEntry[]>;
  /** 1, 2, 3, … : monotonically increasing CRL numbers (RFC 5280, section 5.2.3), durable before they are returned. */
  nextCrlNumber(): Promise<number>;
}

/** RFC 5280, section 3.3: an entry stays until a CRL issued after the expiry has contained it; no CRL is valid for a week. */
const LISTED_AFTER_EXPIRY_MS = 7 * 24 * 3_600_000;

export function createPublishedStatusStore(database: RegistryDatabase): PublishedStatusStore & CrlStore {
  return {
    listRevokedBy: async ({ issuerId, after, since, limit }) =>
      database.read((tx) =>
        tx.all<RevokedEntry>(
          `SELECT serial, revoked_at AS "revokedAt", revocation_reason AS reason FROM certificates
           WHERE issuer_id = @issuerId AND revoked_at IS NOT NULL AND (revoked_at, serial) > (@at, @serial)
             AND not_after > @listed
           ORDER BY revoked_at, serial LIMIT @limit`,
          {
            issuerId,
            at: after?.revokedAt ?? (since ?? 0) - 1,
            serial: after?.serial ?? 'g', // after every digit: the moment before `since` is left out whole
            listed: tx.now - LISTED_AFTER_EXPIRY_MS,
            limit,
          },
        ),
      ),
    listHeldBy: async ({ issuerId, after, limit }) =>
      // In this order, by the few devices that are suspended: expressions keep the index of a CA's certificates, all of them, out.
      database.read((tx) =>
        tx.all<OnHoldEntry>(
          `SELECT serial, devices.id AS device, restricted_at AS "heldAt"
           FROM devices CROSS JOIN certificates ON certificates.device_id = devices.id
           WHERE restriction = 'suspended' AND devices.id >= @device AND (devices.id, serial) > (@device, @serial)
             AND certificates.revoked_at IS NULL AND issuer_id || '' = @issuerId AND not_after + 0 > @listed
           ORDER BY devices.id, serial LIMIT @limit`,
          {
            issuerId,
            device: after?.device ?? '',
            serial: after?.serial ?? '',
            listed: tx.now - LISTED_AFTER_EXPIRY_MS,
            limit,
          },
        ),
      ),
    listRevoked: async () => listRevoked(database),
    nextCrlNumber: async () => nextCrlNumber(database),
    publishedStatus: async (issuerId, serial) => database.read((tx) => findPublishedStatus(tx, issuerId, serial)),
  };
}

/** In the order of revocation. */
async function listRevoked(database: RegistryDatabase): Promise<readonly RevokedEntry[]> {
  return database.read((tx) =>
    tx.all<RevokedEntry>(
      `SELECT serial, revoked_at AS "revokedAt", revocation_reason AS reason FROM certificates
       WHERE revoked_at IS NOT NULL AND not_after > @since ORDER BY revoked_at, serial`,
      { since: tx.now - LISTED_AFTER_EXPIRY_MS },
    ),
  );
}

/** The number is durable before it is returned, so no two CRLs have the same one. */
async function nextCrlNumber(database: RegistryDatabase): Promise<number> {
  return database.write(function* (tx) {
    const next = yield* tx.get<{ value: number }>(
      `UPDATE counters SET value = value + 1 WHERE name = 'crl' RETURNING value`,
      {},
    );
    if (next === undefined) throw new Problem('internal', { reason: 'expected a CRL counter, found none' });
    return next.value;
  });
}

function* findPublishedStatus(tx: Transaction, issuerId: string, serial: string): Steps<PublishedStatus> {
  const row = yield* tx.get<{
    readonly issuer_id: string | null;
    readonly revoked_at: number | null;
    readonly revocation_reason: RevocationReason | null;
    readonly held_at: number | null;
  }>(
    `SELECT issuer_id, revoked_at, revocation_reason,
       (SELECT restricted_at FROM devices WHERE id = device_id AND restriction = 'suspended') AS held_at
     FROM certificates WHERE serial = @serial`,
    { serial },
  );
  if (row === undefined || row.issuer_id !== issuerId) return { state: 'unknown' };
  if (row.revoked_at !== null) {
    return { state: 'revoked', revokedAt: row.revoked_at, reason: row.revocation_reason ?? 'unspecified' };
  }
  if (row.held_at !== null) return { state: 'revoked', revokedAt: row.held_at, reason: 'certificateHold' };
  return { state: 'good' };
}
