import { expect, it } from 'vitest';
import { parseAddressNetwork } from './address-network.ts';

it.each([
  ['10.0.0.5', { address: '10.0.0.5', prefix: 32, family: 'ipv4' }],
  ['10.1.0.0/24', { address: '10.1.0.0', prefix: 24, family: 'ipv4' }],
  ['::1', { address: '::1', prefix: 128, family: 'ipv6' }],
  ['::ffff:192.0.2.7', { address: '::ffff:192.0.2.7', prefix: 128, family: 'ipv6' }],
  ['2001:db8::/64', { address: '2001:db8::', prefix: 64, family: 'ipv6' }],
  ['1:2:3:4:5:6:7:8', { address: '1:2:3:4:5:6:7:8', prefix: 128, family: 'ipv6' }],
])('%s is a network', (text, network) => {
  expect(parseAddressNetwork(text)).toEqual(network);
});

it.each([
  '',
  '10.0.0',
  '10.0.0.256',
  '01.2.3.4',
  '10.0.0.0/33',
  '10.0.0.0/08',
  '10.0.0.0/',
  '10.0.0.0/8/8',
  '10.0.0.0/-1',
  '10.0.0.0/0',
  '0.0.0.0/00',
  '::/0',
  '::1/129',
  '1::2::3',
  '1:2:3',
  ':1',
  'fe80::1%eth0',
  'localhost',
  '10.0.0.5 ',
])('%j is no network', (text) => {
  expect(parseAddressNetwork(text)).toBeUndefined();
});
