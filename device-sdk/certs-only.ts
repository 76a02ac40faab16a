/**
 * Reads the certificates out of a certs-only PKCS#7 answer (RFC 5652 SignedData without content, RFC 7030 section 4.1.3).
 * It walks the outer shell only, with every length checked against what encloses it; each certificate itself is read by
 * OpenSSL. It judges nothing: which certificate to trust is decided elsewhere.
 */

import { X509Certificate } from 'node:crypto';
import { type Element, INTEGER, OBJECT_IDENTIFIER, readElement, SEQUENCE, SET } from './der.ts';

/** More certificates than this in one answer is not a chain. */
const CERTIFICATES_MAX = 16;

const CONTEXT_0 = 0xa0;
const SIGNED_DATA = Buffer.from('2a864886f70d010702', 'hex'); // 1.2.840.113549.1.7.2

/** The certificates in order, or undefined when the bytes are anything else than one such object in DER. */
export function readCertsOnly(der: Buffer): readonly X509Certificate[] | undefined {
  const contentInfo = readElement(der, 0, der.length);
  if (contentInfo?.tag !== SEQUENCE || contentInfo.end !== der.length) return undefined;
  const type = readElement(der, contentInfo.start, contentInfo.end);
  if (type?.tag !== OBJECT_IDENTIFIER || !der.subarray(type.start, type.end).equals(SIGNED_DATA)) return undefined;
  const content = readElement(der, type.end, contentInfo.end);
  if (content?.tag !== CONTEXT_0 || content.end !== contentInfo.end) return undefined;
  const signedData = readElement(der, content.start, content.end);
  if (signedData?.tag !== SEQUENCE || signedData.end !== content.end) return undefined;

  let at = signedData.start;
  for (const tag of [INTEGER, SET, SEQUENCE]) {
    const skipped = readElement(der, at, signedData.end); // version, digestAlgorithms, encapContentInfo
    if (skipped?.tag !== tag) return undefined;
    at = skipped.end;
  }
  const certificates = readElement(der, at, signedData.end);
  return certificates?.tag === CONTEXT_0 ? readAll(der, certificates) : undefined;
}

function readAll(der: Buffer, list: Element): readonly X509Certificate[] | undefined {
  const found: X509Certificate[] = [];
  for (let at = list.start; at < list.end; ) {
    const element = readElement(der, at, list.end);
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
