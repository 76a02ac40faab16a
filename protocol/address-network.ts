/** A network of IP addresses as operators write it: `10.0.0.5`, `10.1.0.0/24`, `2001:db8::/64`. Parsed without a resolver. */

import { parseDecimal } from './decimal.ts';

export interface AddressNetwork {
  readonly address: string;
  /** Leading bits that count: 1 to 32, or 1 to 128. */
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

export const ADDRESS_NETWORK_RULE = 'an IP address, or a network such as 10.1.0.0/24 or 2001:db8::/64';

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
/** Full and shortened forms without a zone and without an embedded IPv4 address; the count of groups is checked apart. */
const IPV6 = /^(?=.{2,39}$)(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?(?:::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?)?$/i;

/** Undefined for every other text, and for a prefix of 0, which would mean every address. */
export function parseAddressNetwork(text: string): AddressNetwork | undefined {
  const [, address = '', prefix] = /^([0-9a-fA-F:.]{2,39})(?:\/([1-9]\d{0,2}))?$/.exec(text) ?? [];
  const family = IPV4.test(address) ? 'ipv4' : isIpv6(address) ? 'ipv6' : undefined;
  if (family === undefined) return undefined;
  const longest = family === 'ipv4' ? 32 : 128;
  const bits = prefix === undefined ? longest : parseDecimal(prefix, 1, longest);
  return bits === undefined ? undefined : { address, prefix: bits, family };
}

function isIpv6(text: string): boolean {
  if (!IPV6.test(text)) return false;
  const groups = text.match(/[0-9a-f]+/gi)?.length ?? 0;
  return text.includes('::') ? groups <= 7 : groups === 8;
}
