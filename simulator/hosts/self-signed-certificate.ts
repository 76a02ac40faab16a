/**
 * The certificate of a coordinator: made for one run, signed by itself, believed for its fingerprint alone. Nothing in it
 * names anybody (RFC 5280, section 4.1).
 */

import { generateKeyPairSync, type X509Certificate } from 'node:crypto';
import { commonName, writeCertificate } from '../certificate-writer.ts';

export interface SelfSignedCertificate {
  readonly keyPem: string;
  readonly certificatePem: string;
  /** SHA-256 of the certificate, 64 hexadecimal digits in lower case. */
  readonly fingerprint: string;
}

export function createSelfSignedCertificate(now: number): SelfSignedCertificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = commonName('rollcall simulation');
  const certificate = writeCertificate({ issuer: name, subject: name, publicKey, issuerKey: privateKey, now });
  return {
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    certificatePem: certificate.toString(),
    fingerprint: fingerprintOf(certificate),
  };
}

export function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}
