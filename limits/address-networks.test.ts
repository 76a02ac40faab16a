import { expect, it } from 'vitest';
import { AddressNetworks } from './address-networks.ts';
import { canonicalAddress } from './client-network.ts';

it.each([
  ['10.0.0.0/8', '10.255.0.1', true],
  ['10.0.0.0/8', '11.0.0.1', false],
  ['192.0.2.7', '192.0.2.7', true],
  ['192.0.2.7', '192.0.2.8', false],
  ['2001:db8::/32', '2001:db8:1::1', true],
  ['2001:db8::/32', '2001:db9::1', false],
  ['10.0.0.0/8', '::ffff:10.0.0.1', true],
  ['10.0.0.0/8', 'a name', false],
])('the network %s includes %s: %s', (network, address, isIncluded) => {
  expect(new AddressNetworks([network]).includes(canonicalAddress(address))).toBe(isIncluded);
});

it('a text that is no network is refused', () => {
  expect(() => new AddressNetworks(['10.0.0.0/0'])).toThrow(RangeError);
});
