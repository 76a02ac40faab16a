import type { Identity } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { CertificateRecord } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { findCertificate, lockHolderOf } from './certificates.ts';

/** How long a certificate stays valid beside its unused successor. */
export const DEFAULT_OVERLAP_MS = 7 * 24 * 3_600_000;

export function isSuperseded(certificate: CertificateRecord, now: number): boolean {
  return certificate.supersededAt !== undefined && certificate.supersededAt <= now;
}

/**
 * Records that the certificate was used: from now on it is the only valid one of its device. Returns whether anything
 * changed; nothing does for one that was used or superseded before, or is not a device's.
 */
export async function recordFirstUse(database: RegistryDatabase, serial: string): Promise<boolean> {
  return database.write(function* (tx) {
    yield* lockHolderOf(tx, serial);
    const certificate = yield* findCertificate(tx, serial);
    return certificate !== undefined && (yield* markFirstUse(tx, certificate));
  });
}

export function* markFirstUse(tx: Transaction, certificate: CertificateRecord): Steps<boolean> {
  const { holder, serial } = certificate;
  if (holder.kind !== 'device' || certificate.firstUsedAt !== undefined) return false;
  if (certificate.revokedAt !== undefined || isSuperseded(certificate, tx.now)) return false;
  yield* tx.run('UPDATE certificates SET proven_at = @now WHERE serial = @serial', { serial, now: tx.now });
  // Not only its parent: also the parent's ancestors and the parent's other children.
  yield* tx.run(
    `UPDATE certificates SET superseded_at = @now
     WHERE device_id = @device AND serial <> @serial AND revoked_at IS NULL
       AND (superseded_at IS NULL OR superseded_at > @now)`,
    { device: holder.id, serial, now: tx.now },
  );
  return true;
}

/** Limits how long the parent stays valid beside its child. A second renewal does not extend it. */
export function* beginOverlap(tx: Transaction, parent: CertificateRecord, overlapMs: number): Steps<void> {
  // A parent that expires earlier is not superseded: it may have to be recovered after its expiry.
  if (parent.holder.kind !== 'device' || tx.now + overlapMs >= parent.notAfter) return;
  yield* tx.run('UPDATE certificates SET superseded_at = @at WHERE serial = @serial AND superseded_at IS NULL', {
    serial: parent.serial,
    at: tx.now + overlapMs,
  });
}

/** Valid certificates that were renewed from this one. */
export function* childrenOf(tx: Transaction, parent: CertificateRecord, holder: Identity): Steps<readonly string[]> {
  if (holder.kind !== 'device') return [];
  return (yield* tx.all<{ serial: string }>(
    `SELECT serial FROM certificates
       WHERE parent_serial = @parent AND revoked_at IS NULL AND (superseded_at IS NULL OR superseded_at > @now)
       ORDER BY issued_at, rowid`,
    { parent: parent.serial, now: tx.now },
  )).map(({ serial }) => serial);
}
