/**
 * Checks whether the client of a TLS connection holds a certificate of this fleet that is good now. The listener accepts
 * every client, because enrollment needs no certificate, so this is the only check. The socket's `authorized` flag alone
 * is never enough: a resumed session can have it without any certificate.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { type Identity, identityUri, Problem, type ProblemCode } from '@rollcall/protocol';
import type { Registry } from '../../registry/index.ts';
import type { ClientCertificateIssuer } from '../ca/leaf-certificates.ts';

export interface CertificateHolder {
  readonly identity: Identity;
  /** Lower-case hexadecimal. */
  readonly serial: string;
  /** Validity of the certificate, milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** DER of the certificate, when it has expired. */
  readonly expiredDer?: Uint8Array;
}

/**
 * `renewable` also accepts a superseded certificate, because the response with its successor may have been lost, and an
 * expired one, for which only the validity is waived.
 */
export type RequiredStatus = 'good' | 'renewable';

export interface ClientCertificateDeps {
  readonly issuer: Pick<ClientCertificateIssuer, 'trustDomain' | 'hasIssued'>;
  readonly registry: Pick<Registry, 'certificateStatus'>;
  readonly now: () => number;
}

export type ClientCertificateResult =
  | { readonly ok: true; readonly holder: CertificateHolder }
  | {
      readonly ok: false;
      readonly problem: Problem;
      /** The holder, when the certificate is one of this fleet's and only its status was the reason. */
      readonly holder?: Identity;
    };

/** What the check reads of a TLS socket. */
export type ClientSocket = Pick<TLSSocket, 'authorized' | 'authorizationError' | 'getPeerX509Certificate'>;

export async function checkClientCertificate(
  socket: ClientSocket,
  deps: ClientCertificateDeps,
  required: RequiredStatus,
): Promise<ClientCertificateResult> {
  const { issuer, registry } = deps;

  // 1. There is a certificate.
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return refuse('certificate_required', 'no certificate');

  // 2. OpenSSL found a chain to a root of this fleet, for a client.
  // OpenSSL checks the validity last, and CERT_HAS_EXPIRED hides earlier findings. So steps 4 and 5 check again, and
  // `registry/certificates/recovery.ts` compares every byte.
  const isOnlyExpired = required === 'renewable' && String(socket.authorizationError) === 'CERT_HAS_EXPIRED';
  if (socket.authorized !== true && !isOnlyExpired) {
    return refuse('certificate_rejected', String(socket.authorizationError ?? 'not authorized'));
  }

  // 3. It is valid now: the connection may be older than notAfter.
  const now = deps.now();
  if (now < certificate.validFromDate.getTime()) return refuse('certificate_rejected', 'not yet valid');
  const isExpired = now >= certificate.validToDate.getTime();
  if (isOnlyExpired !== isExpired && (isOnlyExpired || required === 'good'))
    return refuse('certificate_rejected', 'expired');

  // 4. An issuing CA of this fleet signed it, not only one of the same name.
  if (!issuer.hasIssued(certificate)) return refuse('certificate_rejected', 'another issuer');

  // 5. The registry states that it is good, and who holds it.
  const serial = serialOf(certificate);
  const status = await registry.certificateStatus(serial);
  if (status.state === 'unknown') return refuse('certificate_rejected', 'unknown serial');
  if (status.state === 'revoked') {
    const code = status.reason === 'superseded' ? 'certificate_rejected' : 'device_revoked';
    return refuse(code, `revoked: ${status.reason}`, status.holder);
  }
  const isSuperseded = status.state === 'superseded';
  if (isSuperseded && required === 'good') return refuse('certificate_superseded', 'superseded', status.holder);
  if (status.state !== 'good' && status.state !== 'superseded')
    return refuse(`device_${status.state}`, `found the holder ${status.state}`, status.holder);

  // 6. The name in the certificate is that of the holder: a cross-check, never the source of the identity.
  if (certificate.subjectAltName !== `URI:${identityUri(issuer.trustDomain, status.holder)}`) {
    return refuse('certificate_rejected', 'the name in the certificate is not that of the holder');
  }
  const notBefore = certificate.validFromDate.getTime();
  const notAfter = certificate.validToDate.getTime();
  return {
    ok: true,
    holder: {
      identity: status.holder,
      serial,
      notBefore,
      notAfter,
      ...(isExpired && { expiredDer: certificate.raw }),
    },
  };
}

function refuse(code: ProblemCode, reason: string, holder?: Identity): ClientCertificateResult {
  return { ok: false, problem: new Problem(code, { reason }), ...(holder && { holder }) };
}

export function serialOf(certificate: X509Certificate): string {
  return certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
}
