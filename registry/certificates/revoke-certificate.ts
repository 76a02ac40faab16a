/** Revokes one certificate of a device or service that has another valid one, and ends the sessions of the revoked one. */

import { formatIdentity, type Identity, Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { summaryOf } from '../devices/apply-device-operations.ts';
import type { TerminationReport, TerminationResult, TerminationSummary } from '../devices/device-operation-types.ts';
import { updateCertificateEnd } from '../devices/devices.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor, CertificateRecord, RevocationReason } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { certificatesOf, findCertificate, isLive, lockHolderOf } from './certificates.ts';

export interface CertificateRevocation {
  readonly holder: Identity;
  readonly serial: string;
  readonly reason: RevocationReason;
  readonly revokedAt: number;
}

export interface OtherCertificate {
  readonly serial: string;
  /** False for a renewed certificate that was never used: it is unknown whether the device has received it. */
  readonly isUsed: boolean;
  /** It was renewed from the revoked one: a thief of that key may have requested it. */
  readonly isDescendant: boolean;
}

export interface CertificateRevocationResult extends CertificateRevocation, TerminationSummary {
  /** The holder's other valid certificates, oldest first; empty only when the revoked one was not valid either. */
  readonly others: readonly OtherCertificate[];
  /** From the commit to the last broker's confirmation, milliseconds, with fractions. */
  readonly propagationMs: number;
}

export interface CertificateRevocationStore {
  /**
   * Resolves when every broker has ended the sessions of this certificate; also when it was revoked before. Problem
   * `certificate_unknown`; `certificate_last` when its holder has no other valid one.
   */
  revokeCertificate(serial: string, reason: RevocationReason, actor: Actor): Promise<CertificateRevocationResult>;
  /** Called after the commit; the revocation waits for the listener. Returns a function that removes it. */
  onCertificateRevocation(listener: (revocation: CertificateRevocation) => TerminationResult): () => void;
}

export function createCertificateRevocationStore(
  database: RegistryDatabase,
  listeners: Listeners<CertificateRevocation, TerminationReport>,
  observeTermination: (seconds: number) => void,
): CertificateRevocationStore {
  return {
    revokeCertificate: async (serial, reason, actor) => {
      const { revocation, others } = await database.write(function* (tx) {
        const revoked = yield* revoke(tx, serial, reason, actor);
        listeners.publish(tx, revoked.revocation);
        return revoked;
      });
      const committedAt = performance.now();
      const notified = await listeners.notify([revocation]);
      const propagationMs = performance.now() - committedAt;
      observeTermination(propagationMs / 1_000);
      return { ...revocation, others, ...summaryOf(notified), propagationMs };
    },
    onCertificateRevocation: (listener) => listeners.add(listener),
  };
}

function* revoke(
  tx: Transaction,
  serial: string,
  reason: RevocationReason,
  actor: Actor,
): Steps<{ readonly revocation: CertificateRevocation; readonly others: readonly OtherCertificate[] }> {
  yield* lockHolderOf(tx, serial);
  const found = yield* findCertificate(tx, serial);
  if (found === undefined || found.holder.kind === 'server') throw new Problem('certificate_unknown');
  const { holder } = found;
  const all = yield* certificatesOf(tx, holder);
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
  yield* tx.run('UPDATE certificates SET revoked_at = @now, revocation_reason = @reason WHERE serial = @serial', {
    serial,
    now: tx.now,
    reason,
  });
  if (holder.kind === 'device') yield* updateCertificateEnd(tx, holder.id);
  if (found.parentSerial !== undefined) yield* clearOverlap(tx, found.parentSerial);
  recordDone(tx, {
    actor,
    action: 'certificate.revoked_alone',
    subject: formatIdentity(holder),
    details: { serial, reason, others: others.length },
  });
  return { revocation: { holder, serial, reason, revokedAt: tx.now }, others };
}

/** The parent was valid for a limited time beside its child; without a child it is valid until it expires. */
function* clearOverlap(tx: Transaction, parent: string): Steps<void> {
  yield* tx.run(
    `UPDATE certificates SET superseded_at = NULL
     WHERE serial = @parent AND revoked_at IS NULL AND superseded_at > @now
       AND NOT EXISTS (SELECT 1 FROM certificates AS child WHERE child.parent_serial = @parent AND child.revoked_at IS NULL)`,
    { parent, now: tx.now },
  );
}

function isRenewedFrom(certificate: CertificateRecord, ancestor: string, all: readonly CertificateRecord[]): boolean {
  const parents = new Map(all.map(({ serial, parentSerial }) => [serial, parentSerial]));
  // At most one step per certificate, so that a damaged chain of parents that forms a circle ends too.
  let at = certificate.parentSerial;
  for (let step = 0; step < all.length && at !== undefined; step += 1) {
    if (at === ancestor) return true;
    at = parents.get(at);
  }
  return false;
}
