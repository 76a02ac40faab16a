/** Networks of an operator's own proxies, as a configuration lists them: `10.0.0.0/8`, `2001:db8::/32`, or one address. */

import { BlockList, isIP } from 'node:net';

export interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

const FORM = /^([0-9A-Fa-f:.]+)(?:\/([1-9]\d{0,2}))?$/;

/** Undefined for anything else, and for a prefix of 0, which would trust every client. */
export function parseNetwork(text: string): Network | undefined {
  const [, address = '', prefix] = FORM.exec(text) ?? [];
  const version = isIP(address);
  if (version === 0) return undefined;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const longest = version === 4 ? 32 : 128;
  if (prefix === undefined) return { address, prefix: longest, family };
  return Number(prefix) > longest ? undefined : { address, prefix: Number(prefix), family };
}

export class TrustedNetworks {
  readonly #networks = new BlockList();
  readonly isEmpty: boolean;

  /** `networks`: texts that `parseNetwork` accepts. Throws RangeError for any other. */
  constructor(networks: readonly string[]) {
    this.isEmpty = networks.length === 0;
    for (const text of networks) {
      const network = parseNetwork(text);
      if (network === undefined) throw new RangeError(`expected a network, found ${text}`);
      this.#networks.addSubnet(network.address, network.prefix, network.family);
    }
  }

  /** `address`: canonical, so that an IPv4-mapped address is one of IPv4. */
  includes(address: string): boolean {
    const version = isIP(address);
    return version !== 0 && this.#networks.check(address, version === 4 ? 'ipv4' : 'ipv6');
  }
}
