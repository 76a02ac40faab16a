/**
 * Checks every issued certificate against its order before it is returned, with parsers that did not write it: OpenSSL
 * through Node's `X509Certificate`, and the bytes through `der-reader.ts`. A difference is a defect of this program, so
 * it throws.
 */

import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { Problem } from '@rollcall/protocol';
import { type DerNode, readDer } from './der-reader.ts';
import { keyIdentifier } from './profile.ts';

export interface ExpectedLeaf {
  readonly commonName: string;
  /** The one URI of a device or service, or the DNS names and addresses of a server: these and no others. */
  readonly names: { readonly uri: string } | { readonly hosts: readonly string[] };
  readonly purpose: 'clientAuth' | 'serverAuth' | 'OCSPSigning';
  readonly publicKeySpki: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly serial: string;
}

export interface ExpectedIssuer {
  readonly subject: Uint8Array;
  readonly publicKey: KeyObject;
  readonly notBefore: number;
  readonly notAfter: number;
}

const PURPOSE_OIDS = {
  clientAuth: '1.3.6.1.5.5.7.3.2',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  OCSPSigning: '1.3.6.1.5.5.7.3.9',
} as const;

/** Contents of the OID, in hexadecimal, of every extension that a leaf may have; and whether it must be critical. */
const LEAF_EXTENSIONS: Readonly<Record<string, { readonly name: string; readonly critical: boolean }>> = {
  '551d13': { name: 'basicConstraints', critical: true },
  '551d0f': { name: 'keyUsage', critical: true },
  '551d25': { name: 'extKeyUsage', critical: false },
  '551d23': { name: 'authorityKeyIdentifier', critical: false },
  '551d1f': { name: 'crlDistributionPoints', critical: false },
  '551d0e': { name: 'subjectKeyIdentifier', critical: false },
  '551d11': { name: 'subjectAltName', critical: false },
  '2b06010505070101': { name: 'authorityInfoAccess', critical: false },
  '2b0601050507300105': { name: 'ocspNoCheck', critical: false },
};
const NEVER_MISSING = new Set([
  'basicConstraints',
  'keyUsage',
  'extKeyUsage',
  'authorityKeyIdentifier',
  'subjectAltName',
]);

/** Throws Problem `internal` unless the certificate is the expected one, signed by the issuer. */
export function assertLeaf(der: Buffer, expected: ExpectedLeaf, issuer: ExpectedIssuer): void {
  const finding = leafFinding(der, expected, issuer);
  if (finding !== undefined) throw new Problem('internal', { reason: `the issued certificate is wrong: ${finding}` });
}

function leafFinding(der: Buffer, expected: ExpectedLeaf, issuer: ExpectedIssuer): string | undefined {
  const certificate = new X509Certificate(der);
  const differs = (what: string, found: unknown, wanted: unknown) =>
    found === wanted ? undefined : `expected ${what} ${String(wanted)}, found ${String(found)}`;
  return (
    differs('serial', certificate.serialNumber.toLowerCase(), expected.serial) ??
    namesFinding(certificate, expected.names) ??
    differs('a CA', certificate.ca, false) ??
    differs('purposes', certificate.keyUsage?.join(), PURPOSE_OIDS[expected.purpose]) ??
    differs('not before', certificate.validFromDate.getTime(), expected.notBefore) ??
    differs('not after', certificate.validToDate.getTime(), expected.notAfter) ??
    (expected.notBefore < issuer.notBefore || expected.notAfter > issuer.notAfter
      ? 'expected a validity within that of the issuing CA'
      : undefined) ??
    (certificate.verify(issuer.publicKey) ? undefined : 'expected a signature of the issuing CA') ??
    structureFinding(der, expected, issuer)
  );
}

/** OpenSSL's own matching decides whether a host is in the certificate. */
function namesFinding(certificate: X509Certificate, names: ExpectedLeaf['names']): string | undefined {
  const found = certificate.subjectAltName;
  if ('uri' in names) return undefined; // the bytes are compared below, because printed forms are ambiguous
  const missing = names.hosts.find((host) =>
    isIP(host) === 0
      ? certificate.checkHost(host, { subject: 'never' }) === undefined
      : certificate.checkIP(host) === undefined,
  );
  return missing === undefined ? undefined : `expected the host ${missing}, found ${found}`;
}

function structureFinding(der: Buffer, expected: ExpectedLeaf, issuer: ExpectedIssuer): string | undefined {
  const parts = certificateParts(der);
  if (typeof parts === 'string') return parts;
  if (!parts.issuer.equals(issuer.subject)) return 'expected the name of the issuing CA';
  if (!parts.spki.equals(expected.publicKeySpki)) return 'expected the public key of the request';
  if (!isCommonName(parts.subject, expected.commonName)) return `expected the subject ${expected.commonName} alone`;

  const found = new Set<string>();
  for (const extension of parts.extensions) {
    const known = LEAF_EXTENSIONS[extension.oid];
    if (known === undefined) return `found an extension that no leaf has: ${extension.oid}`;
    if (found.has(known.name)) return `found ${known.name} twice`;
    if (extension.critical !== known.critical) return `found ${known.name} with the wrong criticality`;
    found.add(known.name);
    // RFC 6960, section 4.2.2.2.1: for a responder alone; in any other certificate it would switch revocation off.
    if (known.name === 'ocspNoCheck' && expected.purpose !== 'OCSPSigning')
      return 'found ocspNoCheck in another certificate';
    // BOOLEAN cA left out; BIT STRING with the first bit alone: digitalSignature.
    if (known.name === 'basicConstraints' && extension.value.toString('hex') !== '3000') return 'found a CA';
    if (known.name === 'subjectAltName' && !areNames(extension.value, expected.names)) return 'found other names';
    if (known.name === 'keyUsage' && extension.value.toString('hex') !== '03020780') return 'found another key usage';
  }
  for (const name of NEVER_MISSING) if (!found.has(name)) return `expected ${name}`;
  return undefined;
}

/** `SEQUENCE { SET { SEQUENCE { commonName, UTF8String } } }` and nothing beside it. */
function isCommonName(subject: Buffer, text: string): boolean {
  const only = (node: DerNode | undefined) => (node?.children.length === 1 ? node.children[0] : undefined);
  const name = readDer(subject);
  const attribute = typeof name === 'string' ? undefined : only(only(name));
  const [type, value, more] = attribute?.children ?? [];
  const isOne = type?.contents.toString('hex') === '550403' && value?.tag === 0x0c && more === undefined;
  return isOne && value.contents.equals(Buffer.from(text, 'utf8'));
}

/** For a URI its very bytes; for hosts, which OpenSSL has matched, that there are no more of them. */
function areNames(value: Buffer, names: ExpectedLeaf['names']): boolean {
  const list = readDer(value);
  if (typeof list === 'string') return false;
  if ('hosts' in names) return list.children.length === names.hosts.length;
  const [name, more] = list.children;
  return more === undefined && name?.tag === 0x86 && name.contents.equals(Buffer.from(names.uri, 'utf8'));
}

export interface CertificateParts {
  /** DER of the Name. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly spki: Buffer;
  readonly extensions: readonly { readonly oid: string; readonly critical: boolean; readonly value: Buffer }[];
}

/** The parts of a certificate, as bytes; an error text when it has another structure. */
export function certificateParts(der: Buffer): CertificateParts | string {
  const certificate = readDer(der);
  if (typeof certificate === 'string') return certificate;
  const [version, , , issuer, , subject, spki, extensions] = certificate.children[0]?.children ?? [];
  if (version?.tag !== 0xa0 || !issuer || !subject || !spki || extensions?.tag !== 0xa3) {
    return 'expected a version 3 certificate';
  }
  return {
    issuer: issuer.bytes,
    subject: subject.bytes,
    spki: spki.bytes,
    extensions: (extensions.children[0]?.children ?? []).map(extensionParts),
  };
}

function extensionParts(extension: DerNode): CertificateParts['extensions'][number] {
  const [oid, ...rest] = extension.children;
  const value = rest.at(-1);
  return {
    oid: oid?.contents.toString('hex') ?? '',
    critical: rest.length === 2 && rest[0]?.contents[0] === 0xff,
    value: value?.contents ?? Buffer.alloc(0),
  };
}

/** A CA certificate read back from its file, for {@link assertLeaf} and the profiles. */
export function readIssuer(der: Buffer): ExpectedIssuer & {
  readonly subject: Buffer;
  readonly publicKeySpki: Buffer;
  /** As in the certificate. Another CA may compute it differently. */
  readonly keyIdentifier: Buffer;
} {
  const parts = certificateParts(der);
  if (typeof parts === 'string') throw new Problem('authority_unusable', { reason: parts });
  const certificate = new X509Certificate(der);
  return {
    subject: parts.subject,
    publicKeySpki: parts.spki,
    keyIdentifier: subjectKeyIdentifierOf(parts) ?? keyIdentifier(parts.spki),
    publicKey: createPublicKey({ key: parts.spki, format: 'der', type: 'spki' }),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}

function subjectKeyIdentifierOf(parts: CertificateParts): Buffer | undefined {
  const extension = parts.extensions.find(({ oid }) => oid === '551d0e');
  const value = extension === undefined ? undefined : readDer(extension.value);
  return typeof value === 'object' && value.tag === 0x04 ? value.contents : undefined;
}

/** Lower-case hexadecimal without leading zeros. */
export function certificateSerial(der: Buffer): string {
  return new X509Certificate(der).serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
}
