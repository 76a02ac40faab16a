/**
 * Verifies the client certificate of a finished TLS handshake, full or resumed. OpenSSL verifies the chain. Names are compared,
 * never parsed (CVE-2021-44532): a name only has to equal what the registry
 * has recorded for the serial.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ConnectFailure } from '../events.ts';

/** A client certificate of an accepted CA, valid by the system's clock. The registry knows its holder. */
export interface PeerCertificate {
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string;
  /** The subject alternative name as OpenSSL prints it. It is compared as a whole. */
  readonly san: string | undefined;
  readonly certificate: X509Certificate;
}

export interface PeerCertificateRefusal {
  readonly reason: ConnectFailure;
  readonly detail?: string;
  readonly certificate: X509Certificate | undefined;
}

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

const OPENSSL_REASONS: Readonly<Record<string, ConnectFailure>> = {
  CERT_HAS_EXPIRED: 'certificate_expired',
  CERT_NOT_YET_VALID: 'certificate_not_yet_valid',
  INVALID_PURPOSE: 'purpose_wrong',
};

export type PeerVerification = { readonly peer: PeerCertificate } | { readonly refusal: PeerCertificateRefusal };

/** What depends only on a certificate's bytes and on the accepted issuers. */
type CertificateFacts =
  | { readonly serial: string; readonly san: string | undefined }
  | { readonly fault: ConnectFailure };

/** Certificates whose facts are cached, about 3 MB: a fleet reconnects with the same certificates. */
const CACHED_CERTIFICATES = 10_000;

export class PeerCertificateVerifier {
  readonly #issuers: readonly X509Certificate[];
  /** By SHA-256 of the DER. The oldest entry is evicted first. */
  readonly #facts = new Map<string, CertificateFacts>();

  constructor(issuers: readonly X509Certificate[]) {
    this.#issuers = issuers;
  }

  verify(socket: TLSSocket): PeerVerification {
    const certificate = socket.getPeerX509Certificate();
    // Node 20 and 22 have reported a resumed session without a certificate as authorized, so both are checked.
    if (certificate === undefined) return { refusal: { reason: 'certificate_missing', certificate } };
    if (socket.authorized !== true) {
      const detail = String(socket.authorizationError);
      return { refusal: { reason: OPENSSL_REASONS[detail] ?? 'certificate_untrusted', detail, certificate } };
    }
    const facts = this.#factsOf(certificate);
    if ('fault' in facts) return { refusal: { reason: facts.fault, certificate } };
    return { peer: { ...facts, certificate } };
  }

  #factsOf(certificate: X509Certificate): CertificateFacts {
    const fingerprint = certificate.fingerprint256;
    const known = this.#facts.get(fingerprint);
    if (known !== undefined) return known;
    if (this.#facts.size >= CACHED_CERTIFICATES) this.#facts.delete(this.#facts.keys().next().value as string);
    const facts = this.#read(certificate);
    this.#facts.set(fingerprint, facts);
    return facts;
  }

  #read(certificate: X509Certificate): CertificateFacts {
    // OpenSSL has verified some chain to the root. This checks that the signature is that of an accepted issuer.
    const isIssuedBy = (issuer: X509Certificate) =>
      certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
    if (!this.#issuers.some(isIssuedBy)) return { fault: 'issuer_foreign' };
    const purposes: readonly string[] | undefined = certificate.keyUsage;
    if (certificate.ca || purposes?.length !== 1 || purposes[0] !== CLIENT_AUTH) return { fault: 'purpose_wrong' };
    return { serial: normalizeSerial(certificate.serialNumber), san: certificate.subjectAltName };
  }
}

function normalizeSerial(serial: string): string {
  return serial.toLowerCase().replace(/^0+(?=.)/, '');
}
