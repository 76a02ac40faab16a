/** IP addresses as text that compares in their order: 32 hexadecimal digits of IPv6, in which IPv4 is mapped (RFC 4291, section 2.5.5.2). */

import { isIPv4, isIPv6 } from 'node:net';
import { parseAddressNetwork, parseDecimal } from '@rollcall/protocol';

/** From `least` to `most`, both included. */
export interface AddressRange {
  readonly least: string;
  readonly most: string;
}

const DIGITS = 32;
const MAPPED = '00000000000000000000ffff';

/** Undefined for text that is no address. A zone (`%eth0`) is ignored. */
export function addressKey(address: string): string | undefined {
  if (isIPv4(address)) return `${MAPPED}${hexOfIPv4(address)}`;
  const [plain = ''] = address.split('%', 1);
  return isIPv6(plain) ? hexOfIPv6(plain) : undefined;
}

/** Reads an address or a network, as `parseAddressNetwork` does. Undefined for other text. */
export function parseAddressRange(text: string): AddressRange | undefined {
  const network = parseAddressNetwork(text);
  const key = network && addressKey(network.address);
  if (network === undefined || key === undefined) return undefined;
  const open = BigInt((network.family === 'ipv4' ? 32 : 128) - network.prefix);
  const least = (BigInt(`0x${key}`) >> open) << open;
  const most = least + (1n << open) - 1n;
  return { least: hex(least), most: hex(most) };
}

function hex(value: bigint): string {
  return value.toString(16).padStart(DIGITS, '0');
}

function hexOfIPv4(address: string): string {
  return address
    .split('.')
    .map((octet) => (parseDecimal(octet, 0, 255) ?? 0).toString(16).padStart(2, '0'))
    .join('');
}

function hexOfIPv6(address: string): string {
  const lastColon = address.lastIndexOf(':');
  const tail = address.slice(lastColon + 1);
  const digits = isIPv4(tail) ? hexOfIPv4(tail) : undefined;
  const text =
    digits === undefined ? address : `${address.slice(0, lastColon)}:${digits.slice(0, 4)}:${digits.slice(4)}`;
  const [before = '', after] = text.toLowerCase().split('::');
  const groupsIn = (part: string) => (part === '' ? [] : part.split(':'));
  const [first, last] = [groupsIn(before), groupsIn(after ?? '')];
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => '0');
  return [...first, ...(after === undefined ? [] : zeros), ...last].map((group) => group.padStart(4, '0')).join('');
}
