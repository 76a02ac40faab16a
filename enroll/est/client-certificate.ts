/**
 * Decides whether the peer of a TLS connection holds a certificate of ours that is good now. The listener lets everyone
 * in, because enrollment needs no certificate; so this is the only place where one counts, and a flag on the socket
 * alone never does: a resumed session once carried `authorized` without any certificate.
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
  /** Life of the certificate, milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** DER of it, when it has ended. */
  readonly expiredDer?: Uint8Array;
}

/**
 * `renewable`: also what another has superseded, because the answer that did so may have been lost, and what has ended, for
 * which nothing but its dates is waived.
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
      /** For the log: what the peer showed. */
      readonly shown: Readonly<Record<string, string>>;
    };

type PeerSocket = Pick<TLSSocket, 'authorized' | 'authorizationError' | 'getPeerX509Certificate'>;

export async function checkClientCertificate(
  socket: PeerSocket,
  deps: ClientCertificateDeps,
  worth: RequiredStatus,
): Promise<ClientCertificateResult> {
  const { issuer, registry } = deps;

  // 1. There is a certificate.
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return refuse('certificate_required', 'no certificate', undefined);

  // 2. OpenSSL found a chain to our root, for a client.
  // Its end is the last thing that OpenSSL looks at, and hides what it found before: steps 4 and 5 don't trust it then,
  // and `registry/recovery.ts` compares every byte.
  const onlyEnded = worth === 'renewable' && String(socket.authorizationError) === 'CERT_HAS_EXPIRED';
  if (socket.authorized !== true && !onlyEnded) {
    return refuse('certificate_rejected', String(socket.authorizationError ?? 'not authorized'), certificate);
  }

  // 3. It is valid now: the connection may be older than its end.
  const now = deps.now();
  if (now < certificate.validFromDate.getTime()) return refuse('certificate_rejected', 'not yet valid', certificate);
  const hasEnded = now >= certificate.validToDate.getTime();
  if (onlyEnded !== hasEnded && (onlyEnded || worth === 'good'))
    return refuse('certificate_rejected', 'expired', certificate);

  // 4. Our issuing CA signed it; not merely one of that name.
  if (!issuer.hasIssued(certificate)) return refuse('certificate_rejected', 'another issuer', certificate);

  // 5. The registry says that it is good, and whose it is.
  const serial = serialOf(certificate);
  const standing = await registry.certificateStatus(serial);
  if (standing.state === 'unknown') return refuse('certificate_rejected', 'unknown serial', certificate);
  if (standing.state === 'revoked') {
    const code = standing.reason === 'superseded' ? 'certificate_rejected' : 'device_revoked';
    return refuse(code, `revoked: ${standing.reason}`, certificate);
  }
  const isSuperseded = standing.state === 'superseded';
  if (isSuperseded && worth === 'good') return refuse('certificate_superseded', 'superseded', certificate);
  if (standing.state !== 'good' && standing.state !== 'superseded')
    return refuse(`device_${standing.state}`, `found it ${standing.state}`, certificate);

  // 6. The name inside is that of the holder: a cross-check, never the source of the identity.
  if (certificate.subjectAltName !== `URI:${identityUri(issuer.trustDomain, standing.holder)}`) {
    return refuse('certificate_rejected', 'the name inside is not that of the holder', certificate);
  }
  const notBefore = certificate.validFromDate.getTime();
  const notAfter = certificate.validToDate.getTime();
  return {
    ok: true,
    holder: {
      identity: standing.holder,
      serial,
      notBefore,
      notAfter,
      ...(hasEnded && { expiredDer: certificate.raw }),
    },
  };
}

function refuse(code: ProblemCode, reason: string, certificate: X509Certificate | undefined): ClientCertificateResult {
  const shown =
    certificate === undefined
      ? {}
      : {
          subject: certificate.subject,
          issuer: certificate.issuer,
          serial: serialOf(certificate),
          names: certificate.subjectAltName ?? '',
          notAfter: certificate.validToDate.toISOString(),
        };
  return { ok: false, problem: new Problem(code, { reason }), shown };
}

function serialOf(certificate: X509Certificate): string {
  return certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
}
