import { type DeviceId, formatIdentity, type Identity, Problem, type ServiceName } from '@rollcall/protocol';
import { recordDone } from './audit.ts';
import { certificatesOf, unrevokedSerialsOf } from './certificates.ts';
import type { RegistryDatabase } from './database.ts';
import type { Actor, Revocation, RevocationReason, RevokedEntry } from './registry.ts';
import { findService } from './services.ts';
import type { Transaction } from './transaction.ts';

/**
 * A revoked certificate is listed until a CRL issued after its expiry has carried it (RFC 5280, section 3.3);
 * a week is longer than any CRL of ours lives.
 */
const LISTED_AFTER_EXPIRY_MS = 7 * 24 * 3_600_000;

export interface RevocationRequest {
  readonly reason: RevocationReason;
  readonly actor: Actor;
}

/** Throws Problem `service_unknown`. */
export function revokeService(database: RegistryDatabase, name: ServiceName, act: RevocationRequest): Revocation {
  return database.write((tx) => {
    const service = findService(tx, name);
    if (service === undefined) throw new Problem('service_unknown', { reason: `found no service ${name}` });
    const holder: Identity = { kind: 'service', name };
    if (service.status === 'revoked') return recordedRevocation(tx, holder, service);
    tx.run('UPDATE services SET revoked_at = @now, revocation_reason = @reason WHERE name = @name', {
      name,
      now: tx.now,
      reason: act.reason,
    });
    return revokeHolder(tx, holder, 'service.revoked', act);
  });
}

/** Part of a re-enrollment: what the device held before gives way. Undefined when it held nothing good. */
export function supersedeCertificates(tx: Transaction, id: DeviceId, actor: Actor): Revocation | undefined {
  const holder: Identity = { kind: 'device', id };
  if (unrevokedSerialsOf(tx, holder).length === 0) return undefined;
  return revokeHolder(tx, holder, 'device.superseded', { reason: 'superseded', actor });
}

/** In the order of revocation. */
export function listRevoked(database: RegistryDatabase): readonly RevokedEntry[] {
  return database.read((tx) =>
    tx.all<RevokedEntry>(
      `SELECT serial, revoked_at AS revokedAt, revocation_reason AS reason FROM certificates
       WHERE revoked_at IS NOT NULL AND not_after > @since ORDER BY revoked_at, serial`,
      { since: tx.now - LISTED_AFTER_EXPIRY_MS },
    ),
  );
}

/** The number is on disk before anybody sees it, so no two CRLs ever carry the same one. */
export function nextCrlNumber(database: RegistryDatabase): number {
  return database.write((tx) => {
    const next = tx.get<{ value: number }>(
      `UPDATE counters SET value = value + 1 WHERE name = 'crl' RETURNING value`,
      {},
    );
    if (next === undefined) throw new Problem('internal', { reason: 'expected a CRL counter, found none' });
    return next.value;
  });
}

/** Ends every certificate of an identity, with an audit entry under this action and one for each. */
export function revokeHolder(tx: Transaction, holder: Identity, action: string, act: RevocationRequest): Revocation {
  const serials = unrevokedSerialsOf(tx, holder);
  const subject = formatIdentity(holder);
  recordDone(tx, { actor: act.actor, action, subject, details: { reason: act.reason, certificates: serials.length } });
  for (const serial of serials) {
    tx.run('UPDATE certificates SET revoked_at = @now, revocation_reason = @reason WHERE serial = @serial', {
      serial,
      now: tx.now,
      reason: act.reason,
    });
    recordDone(tx, {
      actor: act.actor,
      action: 'certificate.revoked',
      subject,
      details: { serial, reason: act.reason },
    });
  }
  return { holder, serials, reason: act.reason, revokedAt: tx.now };
}

/** What was committed then: told again, so that repeating a revocation repeats the cutting off, and writes nothing. */
export function recordedRevocation(
  tx: Transaction,
  holder: Identity,
  found: { readonly revokedAt: number | undefined; readonly revocationReason: RevocationReason | undefined },
): Revocation {
  return {
    holder,
    serials: certificatesOf(tx, holder).map((certificate) => certificate.serial),
    reason: found.revocationReason ?? 'unspecified',
    revokedAt: found.revokedAt ?? tx.now,
  };
}
