/**
 * Writes X.509 structures from checked values: names, extensions, certificates (RFC 5280, section 4) and certs-only
 * bundles (RFC 5652, degenerate SignedData). Defines the encoding; `profile.ts` defines the contents.
 */

import type { Signer } from '../ca/signer.ts';
import {
  bits,
  boolean,
  type Der,
  encodeDer,
  encoded,
  integer,
  octets,
  oid,
  sequence,
  set,
  tagged,
  taggedBytes,
  time,
  utf8,
} from './der-writer.ts';

export const OID = {
  commonName: '2.5.4.3',
  extensionRequest: '1.2.840.113549.1.9.14',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  deltaCrlIndicator: '2.5.29.27',
  freshestCrl: '2.5.29.46',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  ocsp: '1.3.6.1.5.5.7.48.1',
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
  caIssuers: '1.3.6.1.5.5.7.48.2',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
  issuingDistributionPoint: '2.5.29.28',
  crlDistributionPoints: '2.5.29.31',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecPublicKey: '1.2.840.10045.2.1',
  prime256v1: '1.2.840.10045.3.1.7',
  signedData: '1.2.840.113549.1.7.2',
  data: '1.2.840.113549.1.7.1',
} as const;

/** RFC 5280, section 4.2.1.3: bit numbers count from the left. */
const KEY_USAGE_BITS = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const;
export type KeyUsage = keyof typeof KEY_USAGE_BITS;

export type AlternativeName =
  | { readonly kind: 'uri' | 'dns'; readonly value: string }
  /** Four or sixteen bytes. */
  | { readonly kind: 'ip'; readonly value: Uint8Array };

/** RFC 5280, section 4.2.1.6: the tags of GeneralName. */
const NAME_TAGS = { dns: 2, uri: 6, ip: 7 } as const;

const ECDSA_WITH_SHA256 = encodeDer(sequence(oid(OID.ecdsaWithSha256)));

export interface CertificateContents {
  /** Big-endian, without a sign byte. */
  readonly serial: Uint8Array;
  /** DER of the issuer's Name, byte for byte as in its own certificate. */
  readonly issuer: Uint8Array;
  readonly subject: Der;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKeySpki: Uint8Array;
  readonly extensions: readonly Der[];
}

/** Writes and signs a certificate; DER. */
export function writeCertificate(contents: CertificateContents, signer: Signer): Promise<Buffer> {
  const tbs = sequence(
    tagged(0, integer(2)),
    integer(contents.serial),
    encoded(ECDSA_WITH_SHA256),
    encoded(contents.issuer),
    sequence(time(contents.notBefore), time(contents.notAfter)),
    contents.subject,
    encoded(contents.publicKeySpki),
    tagged(3, sequence(...contents.extensions)),
  );
  return signed(encodeDer(tbs), signer);
}

/** `SEQUENCE { toBeSigned, algorithm, signature }`: the structure of certificates, CRLs and requests. */
export async function signed(tbs: Buffer, signer: Signer): Promise<Buffer> {
  const tail = encodeDer(sequence(encoded(ECDSA_WITH_SHA256), bits(await signer.sign(tbs))));
  const tailBody = tail.subarray(headerLength(tail));
  return Buffer.concat([derHeader(0x30, tbs.length + tailBody.length), tbs, tailBody]);
}

/** The signature algorithm of {@link signed}, DER. The signed part contains it too. */
export function signatureAlgorithm(): Buffer {
  return ECDSA_WITH_SHA256;
}

/** Identifier and length octets, for values too long to be built twice. */
export function derHeader(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.from([tag, length]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.from([tag, 0x80 | bytes.length, ...bytes]);
}

function headerLength(der: Buffer): number {
  const first = der[1] as number;
  return first < 0x80 ? 2 : 2 + (first & 0x7f);
}

export function commonName(text: string): Der {
  return sequence(set(sequence(oid(OID.commonName), utf8(text))));
}

export function keyUsage(usages: readonly KeyUsage[]): Der {
  const numbers: readonly number[] = usages.map((usage) => KEY_USAGE_BITS[usage]);
  const value = numbers.reduce((byte: number, number) => byte | (0x80 >> number), 0);
  // X.690, section 11.2.2: a named bit list ends with its last set bit.
  return critical(OID.keyUsage, bits(Buffer.from([value]), 7 - Math.max(...numbers)));
}

/** For a CA: the number of CAs that may be below it, or any number. */
export function caBasicConstraints(pathLength: number | undefined): Der {
  const limit = pathLength === undefined ? undefined : integer(pathLength);
  return critical(OID.basicConstraints, sequence(boolean(true), limit));
}

/** For a leaf: CA is FALSE, which DER writes as nothing. */
export function leafBasicConstraints(): Der {
  return critical(OID.basicConstraints, sequence());
}

export function extendedKeyUsage(purpose: string): Der {
  return nonCritical(OID.extKeyUsage, sequence(oid(purpose)));
}

export function alternativeNames(names: readonly AlternativeName[]): Der {
  return nonCritical(OID.subjectAltName, sequence(...names.map(generalName)));
}

export function subjectKeyIdentifier(keyIdentifier: Uint8Array): Der {
  return nonCritical(OID.subjectKeyIdentifier, octets(keyIdentifier));
}

export function authorityKeyIdentifier(keyIdentifier: Uint8Array): Der {
  return nonCritical(OID.authorityKeyIdentifier, sequence(taggedBytes(0, keyIdentifier)));
}

export function crlDistributionPoint(url: string): Der {
  return nonCritical(
    OID.crlDistributionPoints,
    sequence(sequence(tagged(0, tagged(0, generalName({ kind: 'uri', value: url }))))),
  );
}

/** The URLs of the issuer's OCSP responder and certificate (RFC 5280, section 4.2.2.1). */
export function authorityInfoAccess(urls: { readonly ocsp: string; readonly caIssuers: string }): Der {
  const at = (method: string, url: string) => sequence(oid(method), generalName({ kind: 'uri', value: url }));
  return nonCritical(OID.authorityInfoAccess, sequence(at(OID.ocsp, urls.ocsp), at(OID.caIssuers, urls.caIssuers)));
}

/** In a full CRL, the URL of its delta CRL (RFC 5280, section 5.2.6). */
export function freshestCrl(url: string): Der {
  return nonCritical(
    OID.freshestCrl,
    sequence(sequence(tagged(0, tagged(0, generalName({ kind: 'uri', value: url }))))),
  );
}

/** NULL: clients do not check the revocation of this responder (RFC 6960, section 4.2.2.2.1). */
export function ocspNoCheck(): Der {
  return nonCritical(OID.ocspNoCheck, encoded(Buffer.of(0x05, 0x00)));
}

export function critical(id: string, value: Der): Der {
  return sequence(oid(id), boolean(true), octets(encodeDer(value)));
}

export function nonCritical(id: string, value: Der): Der {
  return sequence(oid(id), octets(encodeDer(value)));
}

/** A degenerate PKCS#7 that carries certificates and nothing else (RFC 7030, section 4.1.3). */
export function writeCertsOnly(certificates: readonly Uint8Array[]): Buffer {
  const signedData = sequence(
    integer(1),
    set(),
    sequence(oid(OID.data)),
    tagged(0, ...certificates.map(encoded)),
    set(),
  );
  return encodeDer(sequence(oid(OID.signedData), tagged(0, signedData)));
}

/** The preferred contents of a request: a P-256 key, an ECDSA signature with SHA-256 (RFC 7030, section 4.5.2). */
export function writeCsrAttributes(): Buffer {
  return encodeDer(sequence(sequence(oid(OID.ecPublicKey), set(oid(OID.prime256v1))), oid(OID.ecdsaWithSha256)));
}

function generalName(name: AlternativeName): Der {
  const value = name.kind === 'ip' ? name.value : Buffer.from(name.value, 'ascii');
  return taggedBytes(NAME_TAGS[name.kind], value);
}
