import { describe, expect, it } from 'vitest';
import { canonicalAddress } from './client-network.ts';
import { parseNetwork, TrustedNetworks } from './trusted-networks.ts';

describe('trusted networks', () => {
  it.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7', '192.0.2.8', false],
    ['2001:db8::/32', '2001:db8:1::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['10.0.0.0/8', '::ffff:10.0.0.1', true],
    ['10.0.0.0/8', 'a name', false],
  ])('%s has %s: %s', (network, address, isIncluded) => {
    expect(new TrustedNetworks([network]).includes(canonicalAddress(address))).toBe(isIncluded);
  });

  it.each([
    '0.0.0.0/0',
    '::/0',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0',
    'fe80::1%eth0',
    'localhost',
    '',
  ])('refuse %j', (text) => {
    expect(parseNetwork(text)).toBeUndefined();
    expect(() => new TrustedNetworks([text])).toThrow(RangeError);
  });
});
