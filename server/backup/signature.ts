/**
 * Signatures of backups without keys: by the fleet's issuing CA, believed for the root above it, or by a key of the
 * operator, believed for itself. A certificate that the archive brings proves nothing on its own.
 */

import { createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { type Manifest, signatureSchema } from './manifest.ts';

export interface BackupSigner {
  /** ECDSA on P-256 with SHA-256, DER. */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
  /** PEM of the issuing CA whose key it is; absent for an operator's key. */
  readonly certificate?: string;
}

export interface BackupTrust {
  /** Self-signed CA certificates: what an issuing CA below one of them signed is believed. */
  readonly roots: readonly X509Certificate[];
  /** Keys that are believed themselves. */
  readonly keys: readonly KeyObject[];
}

/** What is signed. The first line keeps the signature from meaning anything where CAs sign other things. */
function signedBytes(manifest: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from('rollcall backup manifest, format 2\n'), manifest]);
}

export async function signManifest(manifest: Uint8Array, signer: BackupSigner): Promise<Buffer> {
  const signature = Buffer.from(await signer.sign(signedBytes(manifest))).toString('base64');
  const { certificate } = signer;
  return Buffer.from(`${JSON.stringify({ signature, ...(certificate !== undefined && { certificate }) })}\n`);
}

/** Throws Problem `backup_unauthenticated`. */
export function expectSigned(
  text: Uint8Array,
  manifestText: Uint8Array,
  { takenAt }: Manifest,
  { roots, keys }: BackupTrust,
): void {
  const { signature, certificate } = readSignature(text);
  const bytes = signedBytes(manifestText);
  const isBy = (key: KeyObject) => verify('sha256', bytes, key, Buffer.from(signature, 'base64'));
  if (keys.some(isBy)) return;
  if (certificate === undefined) {
    throw unauthenticated('expected the signature of a key that you named with --signed-by, found none');
  }
  const issuing = new X509Certificate(certificate);
  const at = Date.parse(takenAt);
  const isIssuing =
    issuing.ca &&
    issuing.publicKey.asymmetricKeyType === 'ec' &&
    roots.some((root) => root.ca && issuing.checkIssued(root) && issuing.verify(root.publicKey)) &&
    issuing.validFromDate.getTime() <= at &&
    at <= issuing.validToDate.getTime();
  if (!isIssuing) throw unauthenticated('expected the signature of an issuing CA below the root that you named');
  if (!isBy(issuing.publicKey)) throw unauthenticated('expected the manifest as it was signed, found another');
}

function readSignature(text: Uint8Array) {
  try {
    const read = signatureSchema.parse(JSON.parse(Buffer.from(text).toString()));
    if (read.certificate !== undefined) new X509Certificate(read.certificate);
    return read;
  } catch (cause) {
    throw new Problem('backup_unusable', { detail: 'expected a signature of the manifest, found other bytes', cause });
  }
}

/** Of a public key or of a certificate, PEM. Throws what OpenSSL throws. */
export function readPublicKey(pem: string): KeyObject {
  const key = createPublicKey(pem);
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new RangeError('expected an EC key on P-256');
  return key;
}

export function unauthenticated(detail: string): Problem {
  return new Problem('backup_unauthenticated', { detail });
}
