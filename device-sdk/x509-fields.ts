/**
 * Fields of certificates and revocation lists that Node does not show: extensions, and names as bytes. It reads DER
 * that OpenSSL has accepted or whose signature is judged elsewhere, checks every length, and judges nothing.
 */

import type { X509Certificate } from 'node:crypto';
import {
  BIT_STRING,
  BOOLEAN,
  type Element,
  INTEGER,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  readElement,
  readElements,
  SEQUENCE,
} from './der.ts';

export interface Extension {
  /** Content octets of the object identifier, hexadecimal. */
  readonly oid: string;
  readonly isCritical: boolean;
  /** What is inside of the OCTET STRING. */
  readonly value: Buffer;
}

/** What RFC 5280, sections 4.2.1.3 and 4.2.1.9, says of a CA certificate. */
export interface CaFields {
  /** DER of the name. */
  readonly subject: Buffer;
  readonly isCa: boolean;
  /** Undefined where there is no limit. */
  readonly pathLength: number | undefined;
  /** True as well where no key usage is named. */
  readonly signsCertificates: boolean;
  readonly signsLists: boolean;
  /** Object identifiers of extensions that are critical, hexadecimal. */
  readonly critical: readonly string[];
}

export const BASIC_CONSTRAINTS = '551d13';
export const KEY_USAGE = '551d0f';
const EXTENSIONS_TAG = 0xa3; // [3] of TBSCertificate
const VERSION_TAG = 0xa0; // [0] of TBSCertificate
const KEY_CERT_SIGN = 0x04;
const CRL_SIGN = 0x02;

/** Undefined when it is no version 3 certificate in DER. */
export function caFields(certificate: X509Certificate): CaFields | undefined {
  const der = certificate.raw;
  const outer = readElement(der, 0, der.length);
  const tbs = outer && readElement(der, outer.start, outer.end);
  const parts = tbs && readElements(der, tbs.start, tbs.end);
  // version, serialNumber, signature, issuer, validity, subject
  const subject = parts?.[5];
  if (parts === undefined || parts[0]?.tag !== VERSION_TAG || subject?.tag !== SEQUENCE) return undefined;
  const wrapper = parts.find(({ tag }) => tag === EXTENSIONS_TAG);
  const extensions = wrapper === undefined ? [] : readExtensions(der, wrapper);
  if (extensions === undefined) return undefined;
  const constraints = readConstraints(extensions.find(({ oid }) => oid === BASIC_CONSTRAINTS)?.value);
  const usage = extensions.find(({ oid }) => oid === KEY_USAGE)?.value;
  const usages = usage === undefined ? KEY_CERT_SIGN | CRL_SIGN : readUsages(usage);
  if (constraints === undefined || usages === undefined) return undefined;
  return {
    subject: contentOf(der, parts[4]?.end ?? 0, subject),
    ...constraints,
    signsCertificates: (usages & KEY_CERT_SIGN) !== 0,
    signsLists: (usages & CRL_SIGN) !== 0,
    critical: extensions.filter(({ isCritical }) => isCritical).map(({ oid }) => oid),
  };
}

/** `[n] EXPLICIT SEQUENCE OF Extension`; undefined when it isn't, or when one extension is there twice. */
export function readExtensions(der: Buffer, wrapper: Element): readonly Extension[] | undefined {
  const list = readElement(der, wrapper.start, wrapper.end);
  if (list?.tag !== SEQUENCE || list.end !== wrapper.end) return undefined;
  return readExtensionList(der, list);
}

/** `SEQUENCE OF Extension`. */
export function readExtensionList(der: Buffer, list: Element): readonly Extension[] | undefined {
  const found: Extension[] = [];
  for (const element of readElements(der, list.start, list.end) ?? [undefined]) {
    const parts = element?.tag === SEQUENCE ? readElements(der, element.start, element.end) : undefined;
    const [id, ...rest] = parts ?? [];
    const value = rest.at(-1);
    if (id?.tag !== OBJECT_IDENTIFIER || value?.tag !== OCTET_STRING || rest.length > 2) return undefined;
    if (rest.length === 2 && rest[0]?.tag !== BOOLEAN) return undefined;
    const oid = der.toString('hex', id.start, id.end);
    if (found.some((other) => other.oid === oid)) return undefined;
    const isCritical = rest.length === 2 && der[rest[0]?.start ?? 0] !== 0;
    found.push({ oid, isCritical, value: der.subarray(value.start, value.end) });
  }
  return found;
}

/** The element with its header, which begins at `from`. */
export function contentOf(der: Buffer, from: number, element: Element): Buffer {
  return der.subarray(from, element.end);
}

/** Lower-case hexadecimal without leading zeros, as {@link serialOf} has it. */
export function serialIn(der: Buffer, element: Element): string {
  return der.toString('hex', element.start, element.end).replace(/^0+(?=.)/, '');
}

export function serialOf(certificate: X509Certificate): string {
  return certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
}

function readConstraints(value: Buffer | undefined): Pick<CaFields, 'isCa' | 'pathLength'> | undefined {
  if (value === undefined) return { isCa: false, pathLength: undefined };
  const outer = readElement(value, 0, value.length);
  const parts = outer?.tag === SEQUENCE ? readElements(value, outer.start, outer.end) : undefined;
  if (parts === undefined) return undefined;
  const flag = parts.find(({ tag }) => tag === BOOLEAN);
  const length = parts.find(({ tag }) => tag === INTEGER);
  const isNegative = length !== undefined && ((value[length.start] ?? 0x80) & 0x80) !== 0;
  if (isNegative) return undefined;
  return {
    isCa: flag !== undefined && value[flag.start] !== 0,
    // Four bytes are more CAs than any path has.
    pathLength: length && value.readUIntBE(length.start, Math.min(length.end - length.start, 4)),
  };
}

function readUsages(value: Buffer): number | undefined {
  const usage = readElement(value, 0, value.length);
  return usage?.tag === BIT_STRING ? (value[usage.start + 1] ?? 0) : undefined;
}
