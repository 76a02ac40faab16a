/**
 * Judges the certificate of a finished handshake, full or resumed. OpenSSL verifies the chain; the rest is compared,
 * never parsed: text from a certificate decides nothing by itself (CVE-2021-44532), it only has to equal what the
 * registry knows about the serial.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ConnectFailure, PeerDescription } from './events.ts';

/** A certificate that is ours, valid by the system's clock and made for clients. Whose it is, the registry says. */
export interface Peer {
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string;
  /** OpenSSL's rendering of the subject alternative name; compared as a whole with what it has to be. */
  readonly san: string | undefined;
  readonly certificate: X509Certificate;
}

export interface PeerRefusal {
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

export function judgePeer(
  socket: TLSSocket,
  issuers: readonly X509Certificate[],
): { readonly peer: Peer } | { readonly refusal: PeerRefusal } {
  const certificate = socket.getPeerX509Certificate();
  // A resumed session without a certificate has been reported as authorized (Node 20, 22): both have to hold.
  if (certificate === undefined) return { refusal: { reason: 'certificate_missing', certificate } };
  const refuse = (reason: ConnectFailure, detail?: string) => ({
    refusal: detail === undefined ? { reason, certificate } : { reason, detail, certificate },
  });
  if (socket.authorized !== true) {
    const code = String(socket.authorizationError);
    return refuse(OPENSSL_REASONS[code] ?? 'certificate_untrusted', code);
  }
  if (!issuers.some((issuer) => certificate.checkIssued(issuer))) return refuse('issuer_foreign');
  const purposes: readonly string[] | undefined = certificate.keyUsage;
  if (certificate.ca || purposes?.length !== 1 || purposes[0] !== CLIENT_AUTH) return refuse('purpose_wrong');
  const serial = normalSerial(certificate.serialNumber);
  return { peer: { serial, san: certificate.subjectAltName, certificate } };
}

/** For the log: what a certificate says about itself, as text that cannot forge log lines. */
export function describePeer(certificate: X509Certificate | undefined): PeerDescription {
  if (certificate === undefined) return {};
  const notAfter = Date.parse(certificate.validTo);
  return {
    ...(certificate.subject ? { subject: printable(certificate.subject) } : {}),
    serial: normalSerial(certificate.serialNumber),
    ...(certificate.subjectAltName ? { san: printable(certificate.subjectAltName) } : {}),
    ...(Number.isNaN(notAfter) ? {} : { notAfter: new Date(notAfter).toISOString() }),
  };
}

function normalSerial(serial: string): string {
  return serial.toLowerCase().replace(/^0+(?=.)/, '');
}

function printable(text: string): string {
  return text.slice(0, 256).replace(/[\p{Cc}\u2028\u2029]/gu, ' ');
}
