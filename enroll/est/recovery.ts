/** Re-enrollment with an expired certificate, within the grace period of the device's group. */

import { formatIdentity, Problem, type ProblemCode } from '@rollcall/protocol';
import type { RecoveryRefusal, RecoveryStore } from '../../registry/index.ts';
import { keyNotAllowed } from '../x509/key-policy.ts';
import type { CertificateHolder } from './client-certificate.ts';
import { checkCsr } from './csr.ts';
import type { RenewalDeps, RenewalRequest, RenewalResult } from './renewal.ts';
import { identityMismatch } from './requested-identity.ts';

export interface RecoveryDeps extends Pick<RenewalDeps, 'issuer' | 'log'> {
  readonly registry: RecoveryStore;
}

/** `expiredDer`: the expired certificate of the TLS handshake. */
export type ExpiredHolder = CertificateHolder & { readonly expiredDer: Uint8Array };

const REFUSALS: Readonly<Record<RecoveryRefusal, ProblemCode>> = {
  parent_not_good: 'certificate_rejected',
  parent_superseded: 'certificate_superseded',
  device_suspended: 'device_suspended',
  device_quarantined: 'device_quarantined',
  key_differs: 'certificate_expired',
  grace_over: 'recovery_refused',
  recoveries_spent: 'recovery_refused',
};

export async function recoverCertificate(
  { holder, csrDer, address }: RenewalRequest & { readonly holder: ExpiredHolder },
  { issuer, registry, log }: RecoveryDeps,
): Promise<RenewalResult> {
  const { serial, expiredDer: der, identity } = holder;
  const verdict = checkCsr(csrDer);
  if (!verdict.ok) return refused(verdict.code, verdict.reason);
  const { csr } = verdict;
  const mismatch = identityMismatch(csr, issuer.trustDomain, identity);
  if (mismatch !== undefined) return refused('csr_identity_mismatch', mismatch);

  const admission = await registry.admitRecovery({ serial, der, publicKeySha256: csr.publicKeySha256 });
  if (admission.outcome === 'refused') return refused(REFUSALS[admission.refusal], admission.refusal);
  if (admission.outcome === 'replayed') return { ok: true, certificate: admission.certificate };

  const unfit = keyNotAllowed(csr.keyAlgorithm, admission.profile);
  if (unfit !== undefined) return refused('csr_key_not_allowed', unfit);
  const certificate = await issuer.issue(admission.holder, csr.publicKeySpki, admission.profile);
  const outcome = await registry.commitRecovery({ parentSerial: serial, der, certificate, address });
  if (outcome.outcome === 'refused') return refused(REFUSALS[outcome.refusal], outcome.refusal);
  const fields = {
    identity: formatIdentity(identity),
    serial: outcome.certificate.serial,
    parentSerial: serial,
    address,
  };
  log.warn(fields, 'certificate recovered after its expiry');
  return { ok: true, certificate: outcome.certificate };
}

function refused(code: ProblemCode, reason: string): RenewalResult {
  return { ok: false, problem: new Problem(code, { reason }) };
}
