import type { Identity } from '@rollcall/protocol';
import { findCertificate } from './certificates.ts';
import type { RegistryDatabase } from './database.ts';
import type { CertificateRecord } from './registry.ts';
import type { Transaction } from './transaction.ts';

/** How long a certificate counts beside its successor, which nobody has seen at work yet. */
export const DEFAULT_OVERLAP_MS = 7 * 24 * 3_600_000;

export function isSuperseded(certificate: CertificateRecord, now: number): boolean {
  return certificate.supersededAt !== undefined && certificate.supersededAt <= now;
}

/**
 * The certificate was used by whoever holds its key: from now on it is the only one of its device. Says whether anything
 * changed; nothing does for one that was proven before, that another has superseded, or that is no device's.
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
  // Not only its parent: what that one was renewed from, and what else was renewed from it.
  tx.run(
    `UPDATE certificates SET superseded_at = @now
     WHERE device_id = @device AND serial <> @serial AND revoked_at IS NULL
       AND (superseded_at IS NULL OR superseded_at > @now)`,
    { device: holder.id, serial, now: tx.now },
  );
  return true;
}

/** The parent counts for a while beside its child; whoever renews a second time doesn't gain time by it. */
export function beginOverlap(tx: Transaction, parent: CertificateRecord, overlapMs: number): void {
  // One that ends before stays as it is: after its end it may have to be recovered.
  if (parent.holder.kind !== 'device' || tx.now + overlapMs >= parent.notAfter) return;
  tx.run('UPDATE certificates SET superseded_at = @at WHERE serial = @serial AND superseded_at IS NULL', {
    serial: parent.serial,
    at: tx.now + overlapMs,
  });
}

/** What was renewed from this certificate and still counts. */
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
