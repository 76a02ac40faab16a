/**
 * Describes a client certificate that a server refused, for its log and its events. Any client can present any certificate, so each text
 * is bounded and escaped, and nothing in it is a claim that the server has verified.
 */

import type { X509Certificate } from 'node:crypto';
import { escapeControls } from '@rollcall/output';

/** Texts have at most 256 characters. Names are OpenSSL's form on one line: `O=Example, CN=gw-2`. */
export interface RefusedCertificate {
  readonly subject?: string;
  readonly issuer?: string;
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial?: string;
  readonly san?: string;
  /** ISO 8601. */
  readonly notBefore?: string;
  readonly notAfter?: string;
  /** SHA-256 of the certificate, upper-case hexadecimal with colons. */
  readonly fingerprint?: string;
}

/** A serial number has at most 20 bytes (RFC 5280, 4.1.2.2); OpenSSL parses longer ones. */
const TEXT_MAX = 256;

/** An empty description without a certificate. Fields that the certificate does not have are absent. */
export function describeRefusedCertificate(certificate: X509Certificate | undefined): RefusedCertificate {
  if (certificate === undefined) return {};
  const fields = {
    subject: nameText(certificate.subject),
    issuer: nameText(certificate.issuer),
    serial: boundedText(certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '')),
    san: boundedText(certificate.subjectAltName),
    notBefore: timeText(certificate.validFrom),
    notAfter: timeText(certificate.validTo),
    fingerprint: certificate.fingerprint256,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Node separates the parts of a name by line feeds; OpenSSL escapes those that are inside a part. */
function nameText(name: string | undefined): string | undefined {
  return boundedText(name?.split('\n').join(', '));
}

function boundedText(text: string | undefined): string | undefined {
  return text ? escapeControls(text.slice(0, TEXT_MAX)).slice(0, TEXT_MAX) : undefined;
}

function timeText(openssl: string): string | undefined {
  const at = Date.parse(openssl);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}
