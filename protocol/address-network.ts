/** A network of IP addresses as operators write it: `10.0.0.5`, `10.1.0.0/24`, `2001:db8::/64`. Parsed without a resolver. */

import { isIP } from 'node:net';
import { parseDecimal } from './decimal.ts';

export interface AddressNetwork {
  readonly address: string;
  /** Leading bits that count: 1 to 32, or 1 to 128. */
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

export const ADDRESS_NETWORK_RULE = 'an IP address, or a network such as 10.1.0.0/24 or 2001:db8::/64';

/** Without the zone of a link-local address, which has a meaning on one machine only. */
const FORM = /^([0-9A-Fa-f:.]{2,45})(?:\/([1-9]\d{0,2}))?$/;

/** Undefined for every other text, and for a prefix of 0, which would mean every address. */
export function parseAddressNetwork(text: string): AddressNetwork | undefined {
  const [, address = '', prefix] = FORM.exec(text) ?? [];
  const version = isIP(address);
  if (version === 0) return undefined;
  const longest = version === 4 ? 32 : 128;
  const bits = prefix === undefined ? longest : parseDecimal(prefix, 1, longest);
  return bits === undefined ? undefined : { address, prefix: bits, family: version === 4 ? 'ipv4' : 'ipv6' };
}
