/**
 * Judges what the enroll server handed out before a device stores it: the leaf carries our key, the chain leads to the
 * pinned root, and the name in it is one that a device can have. It looks at no clock: a device may not have the right
 * time yet.
 */

import { type KeyObject, X509Certificate } from 'node:crypto';
import { type DeviceId, parseDeviceId } from '../contract/identity.ts';
import { DeviceError } from './device-error.ts';

/** Leaf, issuing CA and one in between at most. */
const DEPTH_MAX = 4;

export interface JudgedChain {
  readonly deviceId: DeviceId;
  /** PEM, leaf first, without the root. */
  readonly certificatePem: string;
}

/** The certificate whose DER has this SHA-256 (64 lower-case hexadecimal digits), or undefined. */
export function findPinned(certificates: readonly X509Certificate[], sha256: string): X509Certificate | undefined {
  return certificates.find((certificate) => fingerprint(certificate) === sha256 && certificate.ca);
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** All certificates of a PEM text, in order. Throws what OpenSSL throws for one that can't be read. */
export function certificatesIn(pem: string): readonly X509Certificate[] {
  return (pem.match(PEM_CERTIFICATE) ?? []).map((one) => new X509Certificate(one));
}

/** Throws `answer_invalid` unless there is a chain from a leaf with our public key to one of `roots`. */
export function judgeChain(
  certificates: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  ours: KeyObject,
): JudgedChain {
  const leaf = certificates.find((certificate) => certificate.publicKey.equals(ours));
  if (leaf === undefined) throw invalid('expected a certificate for the key of the request');
  const chain = [leaf];
  for (let current = leaf; !roots.some((root) => isIssuedBy(current, root)); ) {
    const issuer = [...certificates, ...authorities].find((candidate) => isIssuedBy(current, candidate));
    if (issuer === undefined || chain.length === DEPTH_MAX) throw invalid('expected a chain to the pinned root');
    chain.push(issuer);
    current = issuer;
  }
  return { deviceId: deviceIdOf(leaf), certificatePem: chain.map((certificate) => certificate.toString()).join('') };
}

/** The device id of a certificate: its common name and the last segment of its identity URI, which must agree. */
export function deviceIdOf(leaf: X509Certificate): DeviceId {
  const commonName = (leaf.toLegacyObject().subject as { readonly CN?: unknown } | undefined)?.CN;
  const id = typeof commonName === 'string' ? parseDeviceId(commonName) : undefined;
  if (id === undefined) throw invalid('expected a device id as common name');
  const uri = identityUriOf(leaf);
  if (uri !== undefined && !uri.endsWith(`/device/${id}`)) throw invalid('common name and identity URI differ');
  return id;
}

/** The subject alternative name of type URI, where the certificate has that and nothing else. */
export function identityUriOf(leaf: X509Certificate): string | undefined {
  const found = /^URI:(spiffe:\/\/[a-z0-9._-]+\/device\/[A-Za-z0-9._-]+)$/.exec(leaf.subjectAltName ?? '');
  return found?.[1];
}

/** OpenSSL's opinion of names and key usages, and the signature; no dates. */
export function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function fingerprint(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

function invalid(reason: string): DeviceError {
  return new DeviceError('answer_invalid', { reason });
}
