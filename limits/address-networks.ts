import { BlockList, isIP } from 'node:net';
import { type AddressNetwork, parseAddressNetwork } from '@rollcall/protocol';

/** A list of networks that a client may belong to: the proxies that an operator trusts, or the machines of a load test. */
export class AddressNetworks {
  readonly #networks = new BlockList();
  readonly isEmpty: boolean;

  /** `networks`: also as texts that `parseAddressNetwork` accepts. Throws RangeError for any other text. */
  constructor(networks: readonly (AddressNetwork | string)[]) {
    this.isEmpty = networks.length === 0;
    for (const network of networks) {
      const { address, prefix, family } = typeof network === 'string' ? parse(network) : network;
      this.#networks.addSubnet(address, prefix, family);
    }
  }

  /** `address`: canonical, so that an IPv4-mapped address is one of IPv4. */
  includes(address: string): boolean {
    const version = isIP(address);
    return version !== 0 && this.#networks.check(address, version === 4 ? 'ipv4' : 'ipv6');
  }
}

function parse(text: string): AddressNetwork {
  const network = parseAddressNetwork(text);
  if (network === undefined) throw new RangeError(`expected a network, found ${text}`);
  return network;
}
