/**
 * Reads the certificates out of a certs-only PKCS#7 answer (RFC 5652 SignedData without content, RFC 7030 section 4.1.3).
 * It walks the outer shell only, with every length checked against what encloses it; each certificate itself is read by
 * OpenSSL. It judges nothing: which certificate to trust is decided elsewhere.
 */

import { X509Certificate } from 'node:crypto';

/** More certificates than this in one answer is not a chain. */
const CERTIFICATES_MAX = 16;

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const OBJECT_IDENTIFIER = 0x06;
const CONTEXT_0 = 0xa0;
const SIGNED_DATA = Buffer.from('2a864886f70d010702', 'hex'); // 1.2.840.113549.1.7.2

/** The certificates in order, or undefined when the bytes are anything else than one such object in DER. */
export function readCertsOnly(der: Buffer): readonly X509Certificate[] | undefined {
  const contentInfo = read(der, 0, der.length);
  if (contentInfo?.tag !== SEQUENCE || contentInfo.end !== der.length) return undefined;
  const type = read(der, contentInfo.start, contentInfo.end);
  if (type?.tag !== OBJECT_IDENTIFIER || !der.subarray(type.start, type.end).equals(SIGNED_DATA)) return undefined;
  const content = read(der, type.end, contentInfo.end);
  if (content?.tag !== CONTEXT_0 || content.end !== contentInfo.end) return undefined;
  const signedData = read(der, content.start, content.end);
  if (signedData?.tag !== SEQUENCE || signedData.end !== content.end) return undefined;

  let at = signedData.start;
  for (const tag of [INTEGER, SET, SEQUENCE]) {
    const skipped = read(der, at, signedData.end); // version, digestAlgorithms, encapContentInfo
    if (skipped?.tag !== tag) return undefined;
    at = skipped.end;
  }
  const certificates = read(der, at, signedData.end);
  return certificates?.tag === CONTEXT_0 ? readAll(der, certificates) : undefined;
}

interface Element {
  readonly tag: number;
  /** First byte of the content, and the first byte behind it. */
  readonly start: number;
  readonly end: number;
}

function readAll(der: Buffer, list: Element): readonly X509Certificate[] | undefined {
  const found: X509Certificate[] = [];
  for (let at = list.start; at < list.end; ) {
    const element = read(der, at, list.end);
    if (element?.tag !== SEQUENCE || found.length === CERTIFICATES_MAX) return undefined;
    try {
      found.push(new X509Certificate(der.subarray(at, element.end)));
    } catch {
      return undefined;
    }
    at = element.end;
  }
  return found;
}

/** One element that lies wholly before `limit`. Single-byte tags, definite lengths of at most three octets. */
function read(der: Buffer, at: number, limit: number): Element | undefined {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined || at + 2 > limit || (tag & 0x1f) === 0x1f) return undefined;
  if (first < 0x80) return within(tag, at + 2, first, limit);
  const octets = first & 0x7f;
  if (octets === 0 || octets > 3 || at + 2 + octets > limit) return undefined;
  const length = der.readUIntBE(at + 2, octets);
  return within(tag, at + 2 + octets, length, limit);
}

function within(tag: number, start: number, length: number, limit: number): Element | undefined {
  return start + length <= limit ? { tag, start, end: start + length } : undefined;
}
