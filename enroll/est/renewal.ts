/**
 * Simple re-enrollment (RFC 7030, section 4.2.2): the client authenticates with its current certificate and receives one
 * for a new key and the same identity. Knows no HTTP; `client-certificate.ts` has checked the current certificate.
 */

import { formatIdentity, type Identity, Problem, type ProblemCode } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { CertificateRecord, Registry, RenewalRefusal } from '../../registry/index.ts';
import type { ClientCertificateIssuer } from '../ca/leaf-certificates.ts';
import { keyNotAllowed } from '../x509/key-policy.ts';
import type { CertificateHolder } from './client-certificate.ts';
import { checkCsr } from './csr.ts';
import { identityMismatch } from './requested-identity.ts';

export interface RenewalDeps {
  readonly issuer: Pick<ClientCertificateIssuer, 'trustDomain' | 'issue' | 'ownsKey'>;
  readonly registry: Pick<Registry, 'admitRenewal' | 'commitRenewal'>;
  /** Called when a second key asks to renew a certificate that another one has superseded. */
  readonly onForked?: ((holder: Identity) => void) | undefined;
  readonly log: Logger;
}

export interface RenewalRequest {
  readonly holder: CertificateHolder;
  readonly csrDer: Buffer;
  /** Address of the client. */
  readonly address: string;
}

export type RenewalResult =
  | { readonly ok: true; readonly certificate: CertificateRecord }
  | { readonly ok: false; readonly problem: Problem };

const REFUSALS: Readonly<Record<RenewalRefusal, ProblemCode>> = {
  parent_not_good: 'certificate_rejected',
  parent_expired: 'certificate_expired',
  parent_superseded: 'certificate_superseded',
  device_suspended: 'device_suspended',
  device_quarantined: 'device_quarantined',
  key_reused: 'csr_key_reused',
};

export async function renewCertificate(request: RenewalRequest, deps: RenewalDeps): Promise<RenewalResult> {
  const { issuer, registry, log } = deps;
  const { holder, address } = request;

  // 1. The request is sound and its key may be certified.
  const verdict = checkCsr(request.csrDer);
  if (!verdict.ok) return refused(verdict.code, verdict.reason);
  const { csr } = verdict;
  if (issuer.ownsKey(csr.publicKeySha256)) return refused('csr_key_reused', 'found the key of a CA of this fleet');

  // 2. The registry admits it, or returns the certificate that the same certificate and key have received before.
  const admission = await registry.admitRenewal(holder.serial, csr.publicKeySha256);
  if (admission.outcome === 'refused') return notRenewed(admission.refusal);
  if (admission.outcome === 'replayed') return succeeded(admission.certificate, 'renewal repeated');

  // 3. The names in the request agree with the identity that renews (RFC 7030, section 4.2.2).
  const mismatch = identityMismatch(csr, issuer.trustDomain, admission.holder);
  if (mismatch !== undefined) return refused('csr_identity_mismatch', mismatch);

  const unfit = keyNotAllowed(csr.keyAlgorithm, admission.profile);
  if (unfit !== undefined) return refused('csr_key_not_allowed', unfit);

  // 4. The certificate is issued, and checked by an independent parser.
  const certificate = await issuer.issue(admission.holder, csr.publicKeySpki, admission.profile);

  // 5. One transaction records certificate and audit entry. Then the client gets it.
  const outcome = await registry.commitRenewal({ parentSerial: holder.serial, certificate, address });
  if (outcome.outcome === 'refused') return notRenewed(outcome.refusal);
  return succeeded(outcome.certificate, 'certificate renewed');

  function succeeded(issued: CertificateRecord, message: string): RenewalResult {
    const identity = formatIdentity(holder.identity);
    log.info({ identity, serial: issued.serial, parentSerial: holder.serial, address }, message);
    return { ok: true, certificate: issued };
  }

  function notRenewed(refusal: RenewalRefusal): RenewalResult {
    if (refusal === 'parent_superseded') deps.onForked?.(holder.identity);
    return refused(REFUSALS[refusal], refusal);
  }

  function refused(code: ProblemCode, reason: string): RenewalResult {
    return { ok: false, problem: new Problem(code, { reason }) };
  }
}
