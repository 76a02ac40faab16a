/**
 * The trust anchors of client chains. OpenSSL trusts a root because it is self-signed. It is told here to trust the fleet's issuing CAs as
 * well, so that a chain ends at the CA that signed the device's certificate: otherwise each handshake verifies again, at the cost of a
 * quarter of its signatures, that the root signed the issuing CA, which is part of the configuration. Which issuing CAs are accepted is
 * decided by `broker/access/peer-certificate.ts`.
 */

import { X509Certificate } from 'node:crypto';

/** X509_CERT_AUX in DER: trusted for clientAuth (1.3.6.1.5.5.7.3.2) and nothing else. */
const TRUSTED_FOR_CLIENTS = Buffer.from('300c300a06082b06010505070302', 'hex');

/** OpenSSL's form of a certificate with its trust settings; Node's documentation of `ca` names it. */
const TRUSTED_CERTIFICATE = 'TRUSTED CERTIFICATE';

export interface ClientTrust {
  readonly ca: string[];
  /** For Bun, whose BoringSSL knows no trust settings: each certificate in `ca` is an anchor. */
  readonly allowPartialTrustChain: true;
}

/** `pem`: root and issuing CAs. */
export function clientTrust(pem: string | Buffer): ClientTrust {
  const blocks = pem.toString().match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const ca = process.versions.bun === undefined ? blocks.map(withTrust) : [...blocks];
  return { ca, allowPartialTrustChain: true };
}

function withTrust(pem: string): string {
  const certificate = new X509Certificate(pem);
  if (certificate.checkIssued(certificate)) return pem;
  const text = Buffer.concat([certificate.raw, TRUSTED_FOR_CLIENTS]).toString('base64').replace(/.{64}/g, '$&\n');
  return `-----BEGIN ${TRUSTED_CERTIFICATE}-----\n${text}\n-----END ${TRUSTED_CERTIFICATE}-----\n`;
}
