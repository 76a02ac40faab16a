/**
 * Writes DER for certificates, CRLs and certs-only bundles, through the writing functions of node-forge's `asn1` module,
 * the only part of node-forge that is loaded. Reads nothing: input from the network is read by `csr.ts` and OpenSSL, and
 * `der-writer.test.ts` checks that.
 */

import { createRequire } from 'node:module';
import type forge from 'node-forge';

// The package's main file would load its TLS, PKI and cipher code as well, which is not needed.
const asn1 = createRequire(import.meta.url)('node-forge/lib/asn1.js') as typeof forge.asn1;

const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;
const { BITSTRING, BOOLEAN, GENERALIZEDTIME, INTEGER, OCTETSTRING, OID, SEQUENCE, SET, UTCTIME, UTF8 } = asn1.Type;

/** A value for {@link encodeDer}. */
export type Der = forge.asn1.Asn1;

/** UTCTime ends with the year 2049 (RFC 5280, section 4.1.2.5). */
const GENERALIZED_TIME_FROM = Date.UTC(2050, 0, 1);

export function sequence(...parts: readonly (Der | undefined)[]): Der {
  return asn1.create(UNIVERSAL, SEQUENCE, true, present(parts));
}

export function set(...parts: readonly Der[]): Der {
  return asn1.create(UNIVERSAL, SET, true, [...parts]);
}

/** A number below 2^31, or the big-endian bytes of a non-negative integer. */
export function integer(value: number | Uint8Array): Der {
  if (typeof value === 'number') return asn1.create(UNIVERSAL, INTEGER, false, asn1.integerToDer(value).getBytes());
  const bytes = latin1(value);
  const negative = ((value[0] ?? 0) & 0x80) !== 0;
  return asn1.create(UNIVERSAL, INTEGER, false, negative ? `\0${bytes}` : bytes);
}

export function boolean(value: boolean): Der {
  return asn1.create(UNIVERSAL, BOOLEAN, false, value ? '\xff' : '\0');
}

export function oid(dotted: string): Der {
  return asn1.create(UNIVERSAL, OID, false, asn1.oidToDer(dotted).getBytes());
}

export function utf8(text: string): Der {
  return asn1.create(UNIVERSAL, UTF8, false, latin1(Buffer.from(text, 'utf8')));
}

export function octets(bytes: Uint8Array): Der {
  return asn1.create(UNIVERSAL, OCTETSTRING, false, latin1(bytes));
}

/** `unusedBits` at the end of the last byte, 0 to 7. */
export function bits(bytes: Uint8Array, unusedBits = 0): Der {
  return asn1.create(UNIVERSAL, BITSTRING, false, String.fromCharCode(unusedBits) + latin1(bytes));
}

/** Milliseconds since the epoch, written to the second, in the type that RFC 5280 wants for that year. */
export function time(at: number): Der {
  const date = new Date(at);
  return at < GENERALIZED_TIME_FROM
    ? asn1.create(UNIVERSAL, UTCTIME, false, asn1.dateToUtcTime(date) as unknown as string)
    : asn1.create(UNIVERSAL, GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date) as unknown as string);
}

/** Whole seconds, whatever the year, as OCSP wants it (RFC 6960, section 4.2.2.1). */
export function generalizedTime(at: number): Der {
  return asn1.create(UNIVERSAL, GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(new Date(at)) as unknown as string);
}

/** `[tag] EXPLICIT`, or an implicitly tagged SEQUENCE or SET of these parts: their DER is the same. */
export function tagged(tag: number, ...parts: readonly (Der | undefined)[]): Der {
  return asn1.create(CONTEXT_SPECIFIC, tag, true, present(parts));
}

/** `[tag] IMPLICIT` over a type with plain contents, such as the IA5String of a URI. */
export function taggedBytes(tag: number, contents: Uint8Array): Der {
  return asn1.create(CONTEXT_SPECIFIC, tag, false, latin1(contents));
}

/** A complete DER value that was encoded before, here or by OpenSSL. */
export function encoded(der: Uint8Array): Der {
  const first = der[1] ?? 0;
  const header = first < 0x80 ? 2 : 2 + (first & 0x7f);
  // The whole identifier octet goes in as "type": the writer copies it and repeats the length.
  return asn1.create(UNIVERSAL, der[0] as number, false, latin1(der.subarray(header)));
}

export function encodeDer(value: Der): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

function present(parts: readonly (Der | undefined)[]): Der[] {
  return parts.filter((part) => part !== undefined);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
