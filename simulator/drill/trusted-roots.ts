/** Reads the roots of a trust bundle, and until when one root cross-signs another. It verifies no signature. */

import { X509Certificate } from 'node:crypto';

/** Those of a PEM text, in their order. */
export function parseCertificates(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** Fingerprints of the roots in a bundle. */
export function rootFingerprints(bundlePem: string): readonly string[] {
  return parseCertificates(bundlePem)
    .filter((certificate) => certificate.checkIssued(certificate))
    .map(({ fingerprint256 }) => fingerprint256);
}

/** When the certificate ends that another root gave a root in this bundle, ISO 8601; undefined when there is none. */
export function crossSignedUntil(bundlePem: string): string | undefined {
  const certificates = parseCertificates(bundlePem);
  const roots = certificates.filter((certificate) => certificate.checkIssued(certificate));
  const cross = certificates.find(
    (certificate) =>
      !certificate.checkIssued(certificate) && roots.some((root) => root.publicKey.equals(certificate.publicKey)),
  );
  return cross && new Date(cross.validTo).toISOString();
}
