import { expect, it } from 'vitest';
import { addressKey, parseAddressRange } from './address-range.ts';

it.each([
  ['192.0.2.7', '00000000000000000000ffffc0000207'],
  ['::ffff:192.0.2.7', '00000000000000000000ffffc0000207'],
  ['::', '0'.repeat(32)],
  ['::1', `${'0'.repeat(31)}1`],
  ['2001:DB8::a:1', '20010db80000000000000000000a0001'],
  ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
  ['fe80::1%eth0', 'fe800000000000000000000000000001'],
])('the address %s has a text of 32 digits', (address, key) => {
  expect(addressKey(address)).toBe(key);
});

it.each([
  ['10.1.2.3', '10.1.2.3', '10.1.2.3'],
  ['10.1.2.3/16', '10.1.0.0', '10.1.255.255'],
  ['128.0.0.0/1', '128.0.0.0', '255.255.255.255'],
  ['2001:db8::/33', '2001:db8::', '2001:db8:7fff:ffff:ffff:ffff:ffff:ffff'],
  ['8000::/1', '8000::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
])('the network %s reaches from %s to %s', (network, least, most) => {
  expect(parseAddressRange(network)).toEqual({ least: addressKey(least), most: addressKey(most) });
});

it('a text that is no network has no range', () => {
  expect(parseAddressRange('10.1.0.0/33')).toBeUndefined();
});
