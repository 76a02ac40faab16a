/**
 * Checks a PKCS#10 request (RFC 2986): one DER value, a key that may be certified, signed by that key, requesting no
 * extension that a leaf never has. The result is the public key and the requested names, which are compared and never
 * copied. OpenSSL reads the key and verifies the signature; `requested-extensions.ts` reads the rest.
 */

import { verify } from 'node:crypto';
import type { ProblemCode } from '@rollcall/protocol';
import type { KeyAlgorithm } from '../../registry/index.ts';
import { type DerNode, readDer } from '../x509/der-reader.ts';
import { type CheckedKey, checkKey, type SubjectPublicKeyInfo } from '../x509/key-policy.ts';
import { readRequestedExtensions } from './requested-extensions.ts';

declare const checked: unique symbol;

export interface CheckedCsr {
  readonly [checked]: true;
  readonly publicKeySpki: Buffer;
  readonly publicKeySha256: string;
  readonly keyAlgorithm: KeyAlgorithm;
  /** As requested; it authenticates nobody. */
  readonly commonNames: readonly string[];
  /** `url:spiffe://…`, `dns:…`: kind and value of each requested alternative name. */
  readonly alternativeNames: readonly string[];
}

export type CsrRefusal = Extract<ProblemCode, `csr_${string}`>;

export type CsrCheck =
  | { readonly ok: true; readonly csr: CheckedCsr }
  | { readonly ok: false; readonly code: CsrRefusal; readonly reason: string };

/** Contents of the signature algorithm's OID, in hexadecimal: its kind of key and its hash. SHA-1 is not allowed. */
const SIGNATURES: Readonly<Record<string, { readonly kind: CheckedKey['kind']; readonly hash: string | null }>> = {
  '2a8648ce3d040302': { kind: 'ec', hash: 'sha256' },
  '2a8648ce3d040303': { kind: 'ec', hash: 'sha384' },
  '2a8648ce3d040304': { kind: 'ec', hash: 'sha512' },
  '2a864886f70d01010b': { kind: 'rsa', hash: 'sha256' },
  '2a864886f70d01010c': { kind: 'rsa', hash: 'sha384' },
  '2a864886f70d01010d': { kind: 'rsa', hash: 'sha512' },
  '2b6570': { kind: 'ed25519', hash: null },
};

export function checkCsr(der: Buffer): CsrCheck {
  // 1. One DER value of the right shape.
  const parts = requestParts(der);
  if (typeof parts === 'string') return refuse('csr_malformed', parts);

  // 2. A key that may be certified.
  const key = checkKey(parts.key);
  if (typeof key === 'string') return refuse('csr_key_unsupported', key);

  // 3. Proof of possession, over the received bytes (RFC 2986, section 4.2).
  const signature = SIGNATURES[parts.signatureAlgorithm.children[0]?.contents.toString('hex') ?? ''];
  if (signature === undefined)
    return refuse('csr_signature_invalid', 'expected ECDSA or RSA with SHA-256, -384 or -512');
  if (signature.kind !== key.kind)
    return refuse('csr_signature_invalid', 'expected an algorithm of the key it carries');
  if (!verify(signature.hash, parts.signed.bytes, key.key, parts.signature)) {
    return refuse('csr_signature_invalid', 'expected a signature by the key it carries');
  }

  // 4. Requested names and extensions.
  const requested = readRequestedExtensions(parts.subject, parts.attributes);
  if (!requested.ok) return refuse(requested.code, requested.reason);
  const { commonNames, alternativeNames } = requested;
  const csr = {
    publicKeySpki: key.spki,
    publicKeySha256: key.sha256,
    keyAlgorithm: key.algorithm,
    commonNames,
    alternativeNames,
  };
  return { ok: true, csr: csr as unknown as CheckedCsr };
}

interface RequestParts {
  readonly signed: DerNode;
  readonly subject: DerNode;
  readonly attributes: DerNode | undefined;
  readonly key: SubjectPublicKeyInfo;
  readonly signatureAlgorithm: DerNode;
  readonly signature: Buffer;
}

/** RFC 2986, section 4: `SEQUENCE { SEQUENCE { version, subject, SPKI, [0] attributes }, algorithm, BIT STRING }`. */
function requestParts(der: Buffer): RequestParts | string {
  const request = readDer(der);
  if (typeof request === 'string') return request;
  const shape = 'expected a PKCS#10 request, found another structure';
  const [signed, signatureAlgorithm, signature, more] = request.children;
  if (request.tag !== 0x30 || more !== undefined) return shape;
  if (signed?.tag !== 0x30 || signatureAlgorithm?.tag !== 0x30 || signature?.tag !== 0x03) return shape;
  const [version, subject, spki, attributes, extra] = signed.children;
  if (version?.bytes.toString('hex') !== '020100' || subject?.tag !== 0x30 || spki?.tag !== 0x30) return shape;
  // Some clients omit the empty attributes, which RFC 2986 does not allow.
  if (extra !== undefined || (attributes !== undefined && attributes.tag !== 0xa0)) return shape;
  const [keyAlgorithm, keyBits, beyond] = spki.children;
  if (keyAlgorithm?.tag !== 0x30 || keyBits?.tag !== 0x03 || beyond !== undefined) return shape;
  if (signature.contents[0] !== 0) return 'expected a signature of whole bytes';
  const key = { spki: spki.bytes, algorithm: keyAlgorithm.bytes, bits: keyBits.contents };
  return { signed, subject, attributes, key, signatureAlgorithm, signature: signature.contents.subarray(1) };
}

function refuse(code: CsrRefusal, reason: string): Extract<CsrCheck, { ok: false }> {
  return { ok: false, code, reason };
}
