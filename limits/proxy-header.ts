/**
 * Parses the header of the PROXY protocol, versions 1 and 2 (HAProxy, proxy-protocol.txt), by which a load balancer states the
 * address of its client. It reads the source address and nothing else: type-length-values name users and certificates that
 * no handshake here has proven, so they are checked for their form and ignored. Anything that the specification does not allow is refused.
 */

import { isIPv4, isIPv6 } from 'node:net';
import { canonicalAddress } from './client-network.ts';
import { crc32c } from './crc32c.ts';

/** `source`: the client's address; undefined when the proxy connected for itself, as health checks do, or states none. */
export type ProxyHeader =
  | { readonly state: 'incomplete' }
  | { readonly state: 'missing' }
  | { readonly state: 'invalid'; readonly reason: string }
  | { readonly state: 'complete'; readonly length: number; readonly source: string | undefined };

/** Section 2.1: the longest line of version 1, CR LF included. */
const TEXT_MAX = 107;
/** Section 2: the size that every receiver should accept; a header of version 2 is refused above it by its declared length. */
export const PROXY_HEADER_MAX = 536;

const TEXT_START = Buffer.from('PROXY ');
const BINARY_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;

/** 0 to 65535, without leading zeros. */
const PORT = '(?:0|[1-9]\\d{0,3}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d{2}|655[0-2]\\d|6553[0-5])';
const TEXT_FORM = new RegExp(`^(TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ${PORT} ${PORT}$`);

/** Section 2.2: bytes of the addresses by family and transport protocol. */
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [0x00, 0], // unspecified
  [0x11, 12], // TCP over IPv4
  [0x21, 36], // TCP over IPv6
  [0x31, 216], // a stream between Unix sockets
]);

const CRC32C_TYPE = 0x03;

/** `received`: everything that came on the connection so far. */
export function parseProxyHeader(received: Buffer): ProxyHeader {
  if (startsLike(received, BINARY_START)) return parseBinary(received);
  if (startsLike(received, TEXT_START)) return parseText(received);
  return { state: 'missing' };
}

/** Whether the bytes, however few, can be the beginning of this. */
function startsLike(received: Buffer, start: Buffer): boolean {
  const length = Math.min(received.length, start.length);
  return received.subarray(0, length).equals(start.subarray(0, length));
}

function parseText(received: Buffer): ProxyHeader {
  const end = received.subarray(0, TEXT_MAX).indexOf('\r\n');
  if (end < 0) {
    if (received.length < TEXT_MAX) return { state: 'incomplete' };
    return invalid(`expected a line of at most ${TEXT_MAX} bytes`);
  }
  const text = received.toString('latin1', TEXT_START.length, end);
  const length = end + 2;
  // What follows the word is to be ignored.
  if (text === 'UNKNOWN' || text.startsWith('UNKNOWN ')) return { state: 'complete', length, source: undefined };
  const [, family, source = '', destination = ''] = TEXT_FORM.exec(text) ?? [];
  if (family === undefined) return invalid('expected a family, two addresses and two ports');
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  if (!isAddress(source) || !isAddress(destination)) return invalid(`expected addresses of ${family}`);
  return { state: 'complete', length, source: canonicalAddress(source) };
}

function parseBinary(received: Buffer): ProxyHeader {
  if (received.length < FIXED_BYTES) return { state: 'incomplete' };
  const command = received.readUInt8(12);
  const family = received.readUInt8(13);
  const length = FIXED_BYTES + received.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) return invalid('expected version 2 and the command LOCAL or PROXY');
  if (length > PROXY_HEADER_MAX) return invalid(`expected at most ${PROXY_HEADER_MAX} bytes, found ${length}`);
  if (received.length < length) return { state: 'incomplete' };
  // LOCAL: the proxy connected for itself; the rest of the header is to be skipped.
  if (command === 0x20) return { state: 'complete', length, source: undefined };
  const addressBytes = ADDRESS_BYTES.get(family);
  if (addressBytes === undefined) return invalid('expected a stream over IPv4, IPv6 or a Unix socket');
  const values = FIXED_BYTES + addressBytes;
  if (values > length) return invalid('the header ends within the addresses');
  const problem = checkValues(received.subarray(0, length), values);
  if (problem !== undefined) return invalid(problem);
  return { state: 'complete', length, source: sourceOf(received, family) };
}

function sourceOf(header: Buffer, family: number): string | undefined {
  if (family === 0x11) return header.subarray(FIXED_BYTES, FIXED_BYTES + 4).join('.');
  if (family !== 0x21) return undefined;
  const groups = Array.from({ length: 8 }, (_, i) => header.readUInt16BE(FIXED_BYTES + 2 * i).toString(16));
  return canonicalAddress(groups.join(':'));
}

/** Checks that the type-length-values end with the header, and the checksum if there is one. */
function checkValues(header: Buffer, start: number): string | undefined {
  let at = start;
  while (at < header.length) {
    if (at + 3 > header.length) return 'a type-length-value is truncated';
    const type = header.readUInt8(at);
    const next = at + 3 + header.readUInt16BE(at + 1);
    if (next > header.length) return 'a type-length-value is longer than the header';
    if (type === CRC32C_TYPE && !hasChecksum(header, at + 3, next)) return 'the checksum is wrong';
    at = next;
  }
  return undefined;
}

/** Section 2.2.3: CRC-32C of the whole header, with zeros in place of the checksum. */
function hasChecksum(header: Buffer, start: number, end: number): boolean {
  if (end - start !== 4) return false;
  const zeroed = Buffer.from(header);
  zeroed.fill(0, start, end);
  return crc32c(zeroed) === header.readUInt32BE(start);
}

function invalid(reason: string): ProxyHeader {
  return { state: 'invalid', reason };
}
