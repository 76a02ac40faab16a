import { formatIdentity, type Identity, Problem } from '@rollcall/protocol';
import { sumReports } from './apply-device-operations.ts';
import { recordDone } from './audit.ts';
import { certificatesOf, findCertificate, isLive } from './certificates.ts';
import type { RegistryDatabase } from './database.ts';
import type { TerminationReport, TerminationResult } from './device-operation-types.ts';
import type { Listeners } from './listeners.ts';
import type { Actor, CertificateRecord, RevocationReason } from './registry.ts';
import type { Transaction } from './transaction.ts';

export interface CertificateRevocation {
  readonly holder: Identity;
  readonly serial: string;
  readonly reason: RevocationReason;
  readonly revokedAt: number;
}

export interface OtherCertificate {
  readonly serial: string;
  /** False of one that was renewed and never used: nobody knows whether the device has it. */
  readonly isUsed: boolean;
  /** It goes back to the one that was revoked: who has that key may have asked for it. */
  readonly isDescendant: boolean;
}

export interface CertificateRevocationResult extends CertificateRevocation {
  /** What the holder goes on with, oldest first; empty only where the revoked one didn't count either. */
  readonly others: readonly OtherCertificate[];
  readonly sessionsClosed: number;
  readonly lastMessageAt: number | undefined;
  readonly brokersConfirmed: number;
  /** From the commit to the last broker's confirmation, milliseconds, with fractions. */
  readonly propagationMs: number;
}

export interface CertificateRevocationStore {
  /**
   * Resolves when every broker has ended the sessions of this certificate. What is revoked already is told again. Problem
   * `certificate_unknown`; `certificate_last` when its holder has no other that counts.
   */
  revokeCertificate(serial: string, reason: RevocationReason, actor: Actor): Promise<CertificateRevocationResult>;
  /** Called after the commit; whoever revoked waits for it. Returns the way to unsubscribe. */
  onCertificateRevocation(listener: (revocation: CertificateRevocation) => TerminationResult): () => void;
}

export function createCertificateRevocationStore(
  database: RegistryDatabase,
  audience: {
    readonly listeners: Listeners<CertificateRevocation, TerminationReport>;
    /** In seconds. */
    observeTermination(seconds: number): void;
  },
): CertificateRevocationStore {
  return {
    revokeCertificate: async (serial, reason, actor) => {
      const { revocation, others } = database.write((tx) => revoke(tx, serial, reason, actor));
      const committedAt = performance.now();
      const confirmations = await audience.listeners.notify([revocation]);
      const propagationMs = performance.now() - committedAt;
      audience.observeTermination(propagationMs / 1_000);
      return { ...revocation, others, ...sumReports(confirmations), propagationMs };
    },
    onCertificateRevocation: (listener) => audience.listeners.add(listener),
  };
}

function revoke(
  tx: Transaction,
  serial: string,
  reason: RevocationReason,
  actor: Actor,
): { readonly revocation: CertificateRevocation; readonly others: readonly OtherCertificate[] } {
  const found = findCertificate(tx, serial);
  if (found === undefined || found.holder.kind === 'server') throw new Problem('certificate_unknown');
  const { holder } = found;
  const all = certificatesOf(tx, holder);
  const others = all
    .filter((each) => each.serial !== serial && isLive(each, tx.now))
    .map((each) => ({
      serial: each.serial,
      isUsed: each.parentSerial === undefined || each.firstUsedAt !== undefined,
      isDescendant: isRenewedFrom(each, serial, all),
    }));
  if (found.revokedAt !== undefined) {
    const { revokedAt, revocationReason = 'unspecified' } = found;
    return { revocation: { holder, serial, reason: revocationReason, revokedAt }, others };
  }
  if (isLive(found, tx.now) && others.length === 0) {
    const name = holder.kind === 'device' ? holder.id : holder.name;
    throw new Problem('certificate_last', {
      detail: `${formatIdentity(holder)} has no other certificate that counts; nothing was done`,
      hint: `rollcall ${holder.kind} revoke ${name} --reason ${reason}, or have it renew first`,
    });
  }
  tx.run('UPDATE certificates SET revoked_at = @now, revocation_reason = @reason WHERE serial = @serial', {
    serial,
    now: tx.now,
    reason,
  });
  if (found.parentSerial !== undefined) clearOverlap(tx, found.parentSerial);
  recordDone(tx, {
    actor,
    action: 'certificate.revoked_alone',
    subject: formatIdentity(holder),
    details: { serial, reason, others: others.length },
  });
  return { revocation: { holder, serial, reason, revokedAt: tx.now }, others };
}

/** It was to count beside its child for a while; when no child is left nothing else is to take its place. */
function clearOverlap(tx: Transaction, parent: string): void {
  tx.run(
    `UPDATE certificates SET superseded_at = NULL
     WHERE serial = @parent AND revoked_at IS NULL AND superseded_at > @now
       AND NOT EXISTS (SELECT 1 FROM certificates AS child WHERE child.parent_serial = @parent AND child.revoked_at IS NULL)`,
    { parent, now: tx.now },
  );
}

function isRenewedFrom(certificate: CertificateRecord, ancestor: string, all: readonly CertificateRecord[]): boolean {
  const parents = new Map(all.map(({ serial, parentSerial }) => [serial, parentSerial]));
  // A line is as long as there are certificates; one that led back to itself would end here too.
  let at = certificate.parentSerial;
  for (let step = 0; step < all.length && at !== undefined; step += 1) {
    if (at === ancestor) return true;
    at = parents.get(at);
  }
  return false;
}
