/** The client network of an address: the unit of limits per address. */

import { isIPv6 } from 'node:net';

/** An IPv4 address, or the /64 network of an IPv6 address, which one site or machine controls. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = (address.split('%')[0] as string).split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  return [...before, ...Array<string>(zeros).fill('0'), ...after].slice(0, 4).join(':');
}

const MAPPED_AS_WORDS = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

/** One text per address: that of RFC 5952 for IPv6, without a zone; IPv4 for an IPv4-mapped address. Any other text is returned as it is. */
export function canonicalAddress(address: string): string {
  if (!address.includes(':')) return address;
  const text = address.split('%')[0] as string;
  if (!isIPv6(text)) return address;
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const mapped = MAPPED_AS_WORDS.exec(canonical);
  if (mapped === null) return canonical;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16BE(Number.parseInt(mapped[1] as string, 16), 0);
  bytes.writeUInt16BE(Number.parseInt(mapped[2] as string, 16), 2);
  return bytes.join('.');
}
