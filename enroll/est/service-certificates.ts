/** Issues the client certificate of a service, by order of an operator. */

import { Problem, parseServiceName } from '@rollcall/protocol';
import type { Actor, Registry, ServiceRecord } from '../../registry/index.ts';
import type { ClientCertificateIssuer } from '../ca/leaf-certificates.ts';
import type { TrustBundle } from '../ca/trust-bundle.ts';
import { keyNotAllowed } from '../x509/key-policy.ts';
import { pem } from '../x509/pem.ts';
import { checkCsr } from './csr.ts';
import { decodeCsrPem } from './request-body.ts';
import { identityMismatch } from './requested-identity.ts';

export interface ServiceCertificateDeps {
  readonly issuer: Pick<ClientCertificateIssuer, 'trustDomain' | 'issue' | 'ownsKey'>;
  readonly trust: Pick<TrustBundle, 'chainPem' | 'pem'>;
  readonly registry: Pick<Registry, 'commitService'>;
}

export interface ServiceCertificateRequest {
  readonly name: string;
  /** PKCS#10: DER, or PEM text. */
  readonly csr: Buffer | string;
  /** Whether the service may exist: then its other certificates stay valid. */
  readonly again?: boolean;
  readonly actor: Actor;
}

export interface IssuedServiceCertificate {
  readonly service: ServiceRecord;
  /** Lower-case hexadecimal. */
  readonly serial: string;
  readonly notAfter: number;
  /** Chain, leaf first, PEM. */
  readonly certificatePem: string;
  /** Trust bundle, PEM. */
  readonly caPem: string;
}

/** Throws Problem `request_invalid`, `csr_*`, or `service_exists`. */
export async function issueServiceCertificate(
  order: ServiceCertificateRequest,
  deps: ServiceCertificateDeps,
): Promise<IssuedServiceCertificate> {
  const { issuer, trust, registry } = deps;

  // 1. The service name is valid.
  const name = parseServiceName(order.name);
  if (name === undefined)
    throw new Problem('request_invalid', { detail: 'expected a service name of one to 64 of A-Z a-z 0-9 . _ -' });
  const identity = { kind: 'service', name } as const;

  // 2. The request is sound, its key may be certified, and it names nobody else.
  const der = typeof order.csr === 'string' ? decodeCsrPem(order.csr) : order.csr;
  if (der === undefined) throw new Problem('csr_malformed', { reason: 'expected one PEM certificate request' });
  const verdict = checkCsr(der);
  if (!verdict.ok) throw new Problem(verdict.code, { reason: verdict.reason });
  const { csr } = verdict;
  if (issuer.ownsKey(csr.publicKeySha256))
    throw new Problem('csr_key_reused', { reason: 'found the key of a CA of this fleet' });
  const unfit = keyNotAllowed(csr.keyAlgorithm, undefined);
  if (unfit !== undefined) throw new Problem('csr_key_not_allowed', { reason: unfit });
  const mismatch = identityMismatch(csr, issuer.trustDomain, identity);
  if (mismatch !== undefined) throw new Problem('csr_identity_mismatch', { reason: mismatch });

  // 3. The certificate is issued and recorded, and then returned.
  const certificate = await issuer.issue(identity, csr.publicKeySpki);
  const service = await registry.commitService(name, certificate, { actor: order.actor, again: order.again === true });
  return {
    service,
    serial: certificate.serial,
    notAfter: certificate.notAfter,
    certificatePem: pem(certificate.der) + trust.chainPem,
    caPem: trust.pem,
  };
}
