/**
 * Revocation lists that roots sign (RFC 5280, section 5), read and checked on the device: which issuing CAs count no more,
 * and what the root says of its fleet (protocol/trust-statement.ts). A list is never too old to be applied: what it
 * revokes stays revoked, and a clock that is wrong changes nothing. It stores nothing.
 */

import { verify, type X509Certificate } from 'node:crypto';
import { TRUST_STATEMENT_OID } from '@rollcall/protocol';
import { BIT_STRING, type Element, INTEGER, OCTET_STRING, readElement, readElements, SEQUENCE } from './der.ts';
import {
  caFields,
  contentOf,
  type Extension,
  readExtensionList,
  readExtensions,
  serialIn,
  serialOf,
} from './x509-fields.ts';

export interface TrustStatement {
  /** SHA-256 of certificates, lower-case hexadecimal. */
  readonly roots: readonly string[];
  readonly retiredRoots: readonly string[];
  /** Serials of issuing CAs that certify no server any more. */
  readonly taintedIssuers: readonly string[];
}

export interface RevocationList {
  readonly pem: string;
  /** DER of the name of who signed it. */
  readonly issuer: Buffer;
  readonly number: bigint;
  /** Serials, lower-case hexadecimal without leading zeros. */
  readonly revoked: ReadonlySet<string>;
  readonly statement: TrustStatement | undefined;
  readonly signed: Buffer;
  readonly algorithm: string;
  readonly signature: Buffer;
}

/** Lists in one text, at most. */
const LISTS_MAX = 16;
const CRL_NUMBER = '551d14';
const ISSUING_DISTRIBUTION_POINT = '551d1c';
const ONLY_CA_CERTIFICATES = 0x82; // [2] of IssuingDistributionPoint
const DISTRIBUTION_POINT = 0xa0; // [0] of it
const EXTENSIONS_TAG = 0xa0; // [0] of TBSCertList
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
/** Content octets of signature algorithms, and the hash that each means. */
const HASHES: Readonly<Record<string, string>> = {
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
};

const PEM_LIST = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----/g;

/** All lists of a PEM text. Undefined when one of them can't be read, or when there are too many. */
export function parseRevocationLists(pem: string): readonly RevocationList[] | undefined {
  const lists = [...pem.matchAll(PEM_LIST)].map(([, body = '']) => readList(Buffer.from(body, 'base64')));
  if (lists.length > LISTS_MAX || lists.includes(undefined)) return undefined;
  return lists as readonly RevocationList[];
}

/** Whether this root, and nobody else of its name, signed the list. */
export function isListOf(list: RevocationList, root: X509Certificate): boolean {
  const fields = caFields(root);
  if (fields === undefined || !fields.signsLists || !fields.subject.equals(list.issuer)) return false;
  try {
    return verify(list.algorithm, list.signed, root.publicKey, list.signature);
  } catch {
    return false; // a signature of another shape than the key's
  }
}

/** Whether a list of who issued the certificate (its name as DER) takes it back, as the CA of a server. */
export function isRevoked(certificate: X509Certificate, issuer: Buffer, lists: readonly RevocationList[]): boolean {
  const serial = serialOf(certificate);
  return lists.some(
    (list) =>
      list.issuer.equals(issuer) &&
      (list.revoked.has(serial) || list.statement?.taintedIssuers.includes(serial) === true),
  );
}

function readList(der: Buffer): RevocationList | undefined {
  const outer = readElement(der, 0, der.length);
  if (outer?.tag !== SEQUENCE || outer.end !== der.length) return undefined;
  const [tbs, algorithm, signature, more] = readElements(der, outer.start, outer.end) ?? [];
  if (tbs?.tag !== SEQUENCE || algorithm?.tag !== SEQUENCE || signature?.tag !== BIT_STRING || more) return undefined;
  const id = readElement(der, algorithm.start, algorithm.end);
  const hash = id && HASHES[der.toString('hex', id.start, id.end)];
  const body = readBody(der, tbs);
  if (hash === undefined || body === undefined) return undefined;
  const text = der.toString('base64').replace(/.{1,64}/g, '$&\n');
  return {
    ...body,
    pem: `-----BEGIN X509 CRL-----\n${text}-----END X509 CRL-----\n`,
    signed: contentOf(der, outer.start, tbs),
    algorithm: hash,
    signature: der.subarray(signature.start + 1, signature.end),
  };
}

type Body = Pick<RevocationList, 'issuer' | 'number' | 'revoked' | 'statement'>;

function readBody(der: Buffer, tbs: Element): Body | undefined {
  const parts = readElements(der, tbs.start, tbs.end) ?? [];
  const [version, algorithm, issuer, thisUpdate, ...rest] = parts;
  if (version?.tag !== INTEGER || algorithm?.tag !== SEQUENCE || issuer?.tag !== SEQUENCE) return undefined;
  if (thisUpdate === undefined || !isTime(thisUpdate)) return undefined;
  if (rest[0] !== undefined && isTime(rest[0])) rest.shift();
  const entries = rest[0]?.tag === SEQUENCE ? rest.shift() : undefined;
  const wrapper = rest.shift();
  if (wrapper?.tag !== EXTENSIONS_TAG || rest.length > 0) return undefined;
  const extensions = readExtensions(der, wrapper);
  const revoked = entries === undefined ? new Set<string>() : readEntries(der, entries);
  const number = extensions && readNumber(extensions);
  if (extensions === undefined || revoked === undefined || number === undefined) return undefined;
  const stated = extensions.find(({ oid }) => oid === TRUST_STATEMENT_OID);
  const statement = stated && readStatement(stated.value);
  if (stated !== undefined && statement === undefined) return undefined;
  return { issuer: contentOf(der, algorithm.end, issuer), number, revoked, statement };
}

function readEntries(der: Buffer, list: Element): Set<string> | undefined {
  const serials = new Set<string>();
  for (const entry of readElements(der, list.start, list.end) ?? [undefined]) {
    const [serial, date, extensions, more] = (entry && readElements(der, entry.start, entry.end)) ?? [];
    if (serial?.tag !== INTEGER || date === undefined || !isTime(date) || more !== undefined) return undefined;
    // A critical one is certificateIssuer: the entry would speak of somebody else's certificate.
    const found = extensions === undefined ? [] : readExtensionList(der, extensions);
    if (found === undefined || found.some(({ isCritical }) => isCritical)) return undefined;
    serials.add(serialIn(der, serial));
  }
  return serials;
}

/** The number of a full list over CA certificates; undefined for a delta, a list of other scope, and what is not understood. */
function readNumber(extensions: readonly Extension[]): bigint | undefined {
  for (const { oid, isCritical, value } of extensions) {
    if (oid !== ISSUING_DISTRIBUTION_POINT && isCritical) return undefined;
    if (oid !== ISSUING_DISTRIBUTION_POINT) continue;
    const scope = readElement(value, 0, value.length);
    const parts = scope && readElements(value, scope.start, scope.end);
    if (parts?.every(({ tag }) => tag === ONLY_CA_CERTIFICATES || tag === DISTRIBUTION_POINT) !== true)
      return undefined;
  }
  const value = extensions.find(({ oid }) => oid === CRL_NUMBER)?.value;
  const number = value && readElement(value, 0, value.length);
  // Twenty octets at most, and not negative (RFC 5280, section 5.2.3).
  if (value === undefined || number?.tag !== INTEGER || number.end - number.start > 20) return undefined;
  if (number.end === number.start || (value[number.start] as number) >= 0x80) return undefined;
  return BigInt(`0x${value.toString('hex', number.start, number.end)}`);
}

function readStatement(value: Buffer): TrustStatement | undefined {
  const outer = readElement(value, 0, value.length);
  const parts = outer?.tag === SEQUENCE ? readElements(value, outer.start, outer.end) : undefined;
  const [roots, retiredRoots, taintedIssuers] = (parts ?? []).map((part) => readElements(value, part.start, part.end));
  if (roots === undefined || retiredRoots === undefined || taintedIssuers === undefined) return undefined;
  if ([...roots, ...retiredRoots].some(({ tag }) => tag !== OCTET_STRING)) return undefined;
  const hex = ({ start, end }: Element) => value.toString('hex', start, end);
  return {
    roots: roots.map(hex),
    retiredRoots: retiredRoots.map(hex),
    taintedIssuers: taintedIssuers.map((element) => serialIn(value, element)),
  };
}

function isTime({ tag }: Element): boolean {
  return tag === UTC_TIME || tag === GENERALIZED_TIME;
}
