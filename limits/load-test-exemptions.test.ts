import { expect, it } from 'vitest';
import { LoadTestExemptions, LoadTestRate } from './load-test-exemptions.ts';
import { createRateLimit } from './rate-limit.ts';

const token = (tokenId: string, address: string, prefix: number, perSecond = 100) => ({
  tokenId,
  networks: [{ address, prefix, family: address.includes(':') ? 'ipv6' : 'ipv4' } as const],
  perSecond,
  expiresAt: 1_000,
});

it('no address is exempt unless a token names it', () => {
  const exemptions = new LoadTestExemptions(() => 0);
  expect(exemptions.find('10.0.0.5')).toBeUndefined();
  exemptions.replace([token('a', '10.0.0.0', 24), token('b', '2001:db8::', 64)]);
  expect(exemptions.find('10.0.0.5')?.tokenId).toBe('a');
  expect(exemptions.find('::ffff:10.0.0.5')?.tokenId).toBe('a');
  expect(exemptions.find('2001:db8::7')?.tokenId).toBe('b');
  expect(exemptions.find('10.0.1.5')).toBeUndefined();
  expect(exemptions.find('local')).toBeUndefined();
  exemptions.replace([]);
  expect(exemptions.find('10.0.0.5')).toBeUndefined();
});

it('an exemption ends with its token', () => {
  let now = 999;
  const exemptions = new LoadTestExemptions(() => now);
  exemptions.replace([token('a', '10.0.0.5', 32)]);
  expect(exemptions.find('10.0.0.5')?.tokenId).toBe('a');
  expect(exemptions.counters()).toEqual({ load_test_exemptions: 1 });
  now = 1_000;
  expect(exemptions.find('10.0.0.5')).toBeUndefined();
  expect(exemptions.counters()).toEqual({ load_test_exemptions: 0 });
});

it('of several tokens for one address, the one that a request presents is found', () => {
  const exemptions = new LoadTestExemptions(() => 0);
  exemptions.replace([token('a', '10.0.0.5', 32), token('b', '10.0.0.5', 32)]);
  expect(exemptions.find('10.0.0.5', 'b')?.tokenId).toBe('b');
  expect(exemptions.find('10.0.0.5', 'c')).toBeUndefined();
});

const taken = (take: () => number, tries: number) => Array.from({ length: tries }, take).filter((wait) => wait === 0);

it('each token has its own rate, and all together half of the rate for all clients', () => {
  const rate = new LoadTestRate(20); // half of it with a burst of two seconds: 20
  expect(taken(() => rate.take(token('a', '10.0.0.5', 32, 3), 0), 50)).toHaveLength(6);
  expect(taken(() => rate.take(token('b', '10.0.0.5', 32), 0), 50)).toHaveLength(14);
  expect(taken(() => rate.take(token('c', '10.0.0.5', 32), 0), 50)).toHaveLength(0);
});

it('a load test at its bound leaves half of the rate for all to other clients', () => {
  const limit = createRateLimit({ perSecond: 20, perSecondPerAddress: 5, monotonic: () => 0, random: () => 0 });
  const loadTest = token('a', '10.0.0.5', 32);
  expect(taken(() => limit.take('10.0.0.5', loadTest), 100)).toHaveLength(20);
  const others = ['10.0.0.6', '10.0.0.7'].map((address) => taken(() => limit.take(address), 100).length);
  expect(others).toEqual([10, 10]);
});
