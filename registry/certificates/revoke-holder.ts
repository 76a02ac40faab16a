/** Revokes every certificate of a device or service, inside the transaction of its caller. */

import { type DeviceId, formatIdentity, type Identity } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import { updateCertificateEnd } from '../devices/devices.ts';
import type { Actor, Revocation, RevocationReason } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { certificatesOf, unrevokedSerialsOf } from './certificates.ts';

export interface RevocationRequest {
  readonly reason: RevocationReason;
  readonly actor: Actor;
}

/** Revokes the earlier certificates of a device that enrolls again. Undefined when it had none to revoke. */
export function* supersedeCertificates(tx: Transaction, id: DeviceId, actor: Actor): Steps<Revocation | undefined> {
  const holder: Identity = { kind: 'device', id };
  if ((yield* unrevokedSerialsOf(tx, holder)).length === 0) return undefined;
  return yield* revokeHolder(tx, holder, 'device.superseded', { reason: 'superseded', actor });
}

/** Revokes every certificate of an identity, with an audit entry under this action and one for each certificate. */
export function* revokeHolder(
  tx: Transaction,
  holder: Identity,
  action: string,
  request: RevocationRequest,
): Steps<Revocation> {
  const serials = yield* unrevokedSerialsOf(tx, holder);
  const revocation = recordRevocation(tx, holder, action, { ...request, serials });
  yield* tx.runEach(
    'UPDATE certificates SET revoked_at = @now, revocation_reason = @reason WHERE serial = @serial',
    serials.map((serial) => ({ serial, now: tx.now, reason: request.reason })),
  );
  if (holder.kind === 'device') yield* updateCertificateEnd(tx, holder.id);
  return revocation;
}

/** Of all these certificates, which the caller revokes. */
export function recordRevocation(
  tx: Transaction,
  holder: Identity,
  action: string,
  { serials, reason, actor }: RevocationRequest & { readonly serials: readonly string[] },
): Revocation {
  const subject = formatIdentity(holder);
  recordDone(tx, { actor, action, subject, details: { reason, certificates: serials.length } });
  for (const serial of serials) {
    recordDone(tx, { actor, action: 'certificate.revoked', subject, details: { serial, reason } });
  }
  return { holder, serials, reason, revokedAt: tx.now };
}

/** The revocation that was committed earlier: repeating a revocation ends live sessions again, and writes nothing. */
export function* recordedRevocation(
  tx: Transaction,
  holder: Identity,
  found: { readonly revokedAt: number | undefined; readonly revocationReason: RevocationReason | undefined },
): Steps<Revocation> {
  return {
    holder,
    serials: (yield* certificatesOf(tx, holder)).map((certificate) => certificate.serial),
    reason: found.revocationReason ?? 'unspecified',
    revokedAt: found.revokedAt ?? tx.now,
  };
}
