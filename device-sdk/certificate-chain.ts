/**
 * Judges what the enroll server handed out before a device stores it: the leaf carries our key, the chain leads to the
 * pinned root, and the name in it is one that a device can have. It looks at no clock: a device may not have the right
 * time yet.
 */

import { type KeyObject, X509Certificate } from 'node:crypto';
import { type DeviceId, type Identity, parseIdentity } from '@rollcall/protocol';
import { findPath } from './certification-path.ts';
import { DeviceError } from './device-error.ts';

export interface VerifiedChain {
  readonly leaf: X509Certificate;
  /** PEM, leaf first, without the root. */
  readonly certificatePem: string;
}

/** The certificate whose DER has this SHA-256 (64 lower-case hexadecimal digits), or undefined. */
export function findPinnedRoot(certificates: readonly X509Certificate[], sha256: string): X509Certificate | undefined {
  return certificates.find((certificate) => fingerprintOf(certificate) === sha256 && certificate.ca);
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** All certificates of a PEM text, in order. Throws what OpenSSL throws for one that can't be read. */
export function parseCertificates(pem: string): readonly X509Certificate[] {
  return (pem.match(PEM_CERTIFICATE) ?? []).map((one) => new X509Certificate(one));
}

/** Throws `answer_invalid` unless there is a chain from a leaf with our public key to one of `roots`. */
export function verifyChain(
  certificates: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  ours: KeyObject,
): VerifiedChain {
  const leaf = certificates.find((certificate) => certificate.publicKey.equals(ours));
  if (leaf === undefined) throw invalid('expected a certificate for the key of the request');
  const rules = { at: undefined, lists: [], extensions: 'ignore' } as const;
  const path = findPath(leaf, [...certificates, ...authorities], roots, rules);
  if (typeof path === 'string') throw invalid(path);
  const chain = path.slice(0, -1);
  return { leaf, certificatePem: chain.map((certificate) => certificate.toString()).join('') };
}

/**
 * Who holds a certificate: its common name and the last segment of its identity URI, which must agree. Without such a URI,
 * in a certificate of another server, it is a device.
 */
export function holderOf(leaf: X509Certificate): Identity {
  const commonName = (leaf.toLegacyObject().subject as { readonly CN?: unknown } | undefined)?.CN;
  const uri = identityUriOf(leaf);
  const kind = uri?.includes('/service/') === true ? 'service' : 'device';
  const holder = typeof commonName === 'string' ? parseIdentity(`${kind}/${commonName}`) : undefined;
  if (holder === undefined) throw invalid('expected a device id as common name');
  if (uri?.endsWith(`/${kind}/${commonName}`) === false) throw invalid('common name and identity URI differ');
  return holder;
}

/** The device id of a certificate of a device. */
export function deviceIdOf(leaf: X509Certificate): DeviceId {
  const holder = holderOf(leaf);
  if (holder.kind !== 'device') throw invalid('expected the certificate of a device, found one of a service');
  return holder.id;
}

/** The subject alternative name of type URI, where the certificate has that and nothing else. */
export function identityUriOf(leaf: X509Certificate): string | undefined {
  const found = /^URI:(spiffe:\/\/[a-z0-9._-]+\/(?:device|service)\/[A-Za-z0-9._-]+)$/.exec(leaf.subjectAltName ?? '');
  return found?.[1];
}

/** SHA-256 of its DER, 64 lower-case hexadecimal digits. */
export function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

function invalid(reason: string): DeviceError {
  return new DeviceError('answer_invalid', { reason });
}

/**
 * The first certificate of a chain. The fleet's broker holds its issuing CA itself; one that every device sends along
 * costs it a copy at each connect.
 */
export function leafOf(chainPem: string): string {
  const end = '-----END CERTIFICATE-----';
  return `${chainPem.slice(0, chainPem.indexOf(end) + end.length)}\n`;
}
