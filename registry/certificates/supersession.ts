import type { Identity } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { CertificateRecord } from '../registry.ts';
import type { Transaction } from '../transaction.ts';
import { findCertificate } from './certificates.ts';

/** How long a certificate stays valid beside its unused successor. */
export const DEFAULT_OVERLAP_MS = 7 * 24 * 3_600_000;

export function isSuperseded(certificate: CertificateRecord, now: number): boolean {
  return certificate.supersededAt !== undefined && certificate.supersededAt <= now;
}

/**
 * Records that the certificate was used: from now on it is the only valid one of its device. Returns whether anything
 * changed; nothing does for one that was used or superseded before, or is not a device's.
 */
export function recordFirstUse(database: RegistryDatabase, serial: string): boolean {
  return database.write((tx) => {
    const certificate = findCertificate(tx, serial);
    return certificate !== undefined && markFirstUse(tx, certificate);
  });
}

export function markFirstUse(tx: Transaction, certificate: CertificateRecord): boolean {
  const { holder, serial } = certificate;
  if (holder.kind !== 'device' || certificate.firstUsedAt !== undefined) return false;
  if (certificate.revokedAt !== undefined || isSuperseded(certificate, tx.now)) return false;
  tx.run('UPDATE certificates SET proven_at = @now WHERE serial = @serial', { serial, now: tx.now });
  // Not only its parent: also the parent's ancestors and the parent's other children.
  tx.run(
    `UPDATE certificates SET superseded_at = @now
     WHERE device_id = @device AND serial <> @serial AND revoked_at IS NULL
       AND (superseded_at IS NULL OR superseded_at > @now)`,
    { device: holder.id, serial, now: tx.now },
  );
  return true;
}

/** Limits how long the parent stays valid beside its child. A second renewal does not extend it. */
export function beginOverlap(tx: Transaction, parent: CertificateRecord, overlapMs: number): void {
  // A parent that expires earlier is not superseded: it may have to be recovered after its expiry.
  if (parent.holder.kind !== 'device' || tx.now + overlapMs >= parent.notAfter) return;
  tx.run('UPDATE certificates SET superseded_at = @at WHERE serial = @serial AND superseded_at IS NULL', {
    serial: parent.serial,
    at: tx.now + overlapMs,
  });
}

/** Valid certificates that were renewed from this one. */
export function childrenOf(tx: Transaction, parent: CertificateRecord, holder: Identity): readonly string[] {
  if (holder.kind !== 'device') return [];
  return tx
    .all<{ serial: string }>(
      `SELECT serial FROM certificates
       WHERE parent_serial = @parent AND revoked_at IS NULL AND (superseded_at IS NULL OR superseded_at > @now)
       ORDER BY issued_at, rowid`,
      { parent: parent.serial, now: tx.now },
    )
    .map(({ serial }) => serial);
}
