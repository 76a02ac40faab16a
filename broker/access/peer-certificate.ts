/**
 * Judges the certificate of a finished handshake, full or resumed. OpenSSL verifies the chain; the rest is compared,
 * never parsed: text from a certificate decides nothing by itself (CVE-2021-44532), it only has to equal what the
 * registry knows about the serial.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ConnectFailure, PeerDescription } from '../events.ts';

/** A certificate that is ours, valid by the system's clock and made for clients. Whose it is, the registry says. */
export interface PeerCertificate {
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string;
  /** OpenSSL's rendering of the subject alternative name; compared as a whole with what it has to be. */
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

/** What only depends on a certificate's bytes and on who counts as issuer. */
type CertificateFacts =
  | { readonly serial: string; readonly san: string | undefined }
  | { readonly fault: ConnectFailure };

/** Certificates whose facts are remembered, about 3 MB: a fleet that comes back comes back with the same ones. */
const CACHED_CERTIFICATES = 10_000;

export class PeerCertificateVerifier {
  readonly #issuers: readonly X509Certificate[];
  /** By SHA-256 of the DER. The one that came first is forgotten first. */
  readonly #facts = new Map<string, CertificateFacts>();

  constructor(issuers: readonly X509Certificate[]) {
    this.#issuers = issuers;
  }

  verify(socket: TLSSocket): PeerVerification {
    const certificate = socket.getPeerX509Certificate();
    // A resumed session without a certificate has been reported as authorized (Node 20, 22): both have to hold.
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
    // OpenSSL has verified a chain to the root; that names match does not say that it went through this issuer's key.
    const isIssuedBy = (issuer: X509Certificate) =>
      certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
    if (!this.#issuers.some(isIssuedBy)) return { fault: 'issuer_foreign' };
    const purposes: readonly string[] | undefined = certificate.keyUsage;
    if (certificate.ca || purposes?.length !== 1 || purposes[0] !== CLIENT_AUTH) return { fault: 'purpose_wrong' };
    return { serial: normalizeSerial(certificate.serialNumber), san: certificate.subjectAltName };
  }
}

/** For the log: what a certificate says about itself, as text that cannot forge log lines. */
export function describePeer(certificate: X509Certificate | undefined): PeerDescription {
  if (certificate === undefined) return {};
  const notAfter = Date.parse(certificate.validTo);
  return {
    ...(certificate.subject ? { subject: printable(certificate.subject) } : {}),
    serial: normalizeSerial(certificate.serialNumber),
    ...(certificate.subjectAltName ? { san: printable(certificate.subjectAltName) } : {}),
    ...(Number.isNaN(notAfter) ? {} : { notAfter: new Date(notAfter).toISOString() }),
    fingerprint: certificate.fingerprint256,
  };
}

function normalizeSerial(serial: string): string {
  return serial.toLowerCase().replace(/^0+(?=.)/, '');
}

function printable(text: string): string {
  return text.slice(0, 256).replace(/[\p{Cc}\u2028\u2029]/gu, ' ');
}
