/**
 * Writes PKCS#10 certificate requests (RFC 2986) for P-256 keys, in DER. It writes only what an enrolling device says:
 * its key, its name if it has one, and the identity URI when a certificate is renewed. It reads nothing.
 */

import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { BIT_STRING, INTEGER, OCTET_STRING, oid, SET, sequence, UTF8_STRING, writeElement } from './der.ts';

export interface CsrSubject {
  /** Common name; without one the subject is empty and the server chooses. */
  readonly commonName?: string;
  /** Subject alternative name of type URI. A renewal repeats that of the current certificate (RFC 7030, section 4.2.2). */
  readonly uri?: string;
}

/** A signed request as DER. `key` is a P-256 private key. */
export function writeCsr(key: KeyObject, subject: CsrSubject): Buffer {
  const info = requestInfo(createPublicKey(key).export({ type: 'spki', format: 'der' }), subject);
  return signed(info, sign('sha256', info, key));
}

/** As {@link writeCsr}, for a key that somebody else holds: `signWith` gives ECDSA with SHA-256, in DER. */
export async function requestCsr(
  publicKey: Buffer,
  subject: CsrSubject,
  signWith: (data: Buffer) => Promise<Buffer>,
): Promise<Buffer> {
  const info = requestInfo(publicKey, subject);
  return signed(info, await signWith(info));
}

function requestInfo(publicKey: Buffer, subject: CsrSubject): Buffer {
  return sequence(VERSION_0, name(subject.commonName), publicKey, attributes(subject.uri));
}

function signed(info: Buffer, signature: Buffer): Buffer {
  return sequence(info, ECDSA_WITH_SHA256, writeElement(BIT_STRING, UNUSED_BITS_0, signature));
}

const ATTRIBUTES = 0xa0; // [0] of CertificationRequestInfo
const URI_NAME = 0x86; // [6] of GeneralName

const VERSION_0 = writeElement(INTEGER, Buffer.from([0]));
const UNUSED_BITS_0 = Buffer.from([0]);
const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302')); // 1.2.840.10045.4.3.2
const COMMON_NAME = oid('550403'); // 2.5.4.3
const EXTENSION_REQUEST = oid('2a864886f70d01090e'); // 1.2.840.113549.1.9.14
const SUBJECT_ALT_NAME = oid('551d11'); // 2.5.29.17

function name(commonName: string | undefined): Buffer {
  if (commonName === undefined) return sequence();
  return sequence(writeElement(SET, sequence(COMMON_NAME, writeElement(UTF8_STRING, Buffer.from(commonName, 'utf8')))));
}

function attributes(uri: string | undefined): Buffer {
  if (uri === undefined) return writeElement(ATTRIBUTES);
  const names = sequence(writeElement(URI_NAME, Buffer.from(uri, 'ascii')));
  const extension = sequence(SUBJECT_ALT_NAME, writeElement(OCTET_STRING, names));
  return writeElement(ATTRIBUTES, sequence(EXTENSION_REQUEST, writeElement(SET, sequence(extension))));
}
