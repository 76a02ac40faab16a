/**
 * Signatures of backups without keys: by the issuing CA of the fleet, trusted through its root, or by a key of the operator,
 * trusted directly. A certificate in the archive is not trusted without a root.
 */

import { createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { type Manifest, signatureSchema } from './manifest.ts';

export interface BackupSigner {
  /** ECDSA on P-256 with SHA-256, DER. */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
  /** PEM of the issuing CA that signs; absent for an operator's key. */
  readonly certificate?: string;
}

export interface BackupTrust {
  /** Self-signed CA certificates. Signatures of an issuing CA below one of them are trusted. */
  readonly roots: readonly X509Certificate[];
  /** Keys that are trusted directly. */
  readonly keys: readonly KeyObject[];
}

/** The signed bytes. The first line separates this use of a CA key from all others. */
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

/** Reads a public key or the key of a certificate, PEM. Throws errors of OpenSSL. */
export function readPublicKey(pem: string): KeyObject {
  const key = createPublicKey(pem);
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new RangeError('expected an EC key on P-256');
  return key;
}

export function unauthenticated(detail: string): Problem {
  return new Problem('backup_unauthenticated', { detail });
}
