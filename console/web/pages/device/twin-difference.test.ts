import { expect, it } from 'vitest';
import { twinDifference } from './twin-difference.ts';

it('compares a desired and a reported state member by member', () => {
  const desired = { interval: 30, unit: 'C', net: { dns: ['a'], vlan: 4 } };
  const reported = { interval: 60, unit: 'C', net: { dns: ['a'] }, firmware: { version: '1.2' } };
  const rows = twinDifference(desired, reported).map(({ path, desired, reported, state }) => [
    ...[path.join('.'), desired, reported, state],
  ]);
  expect(rows).toEqual([
    ['interval', '30', '60', 'pending'],
    ['unit', '"C"', '"C"', 'applied'],
    ['net.dns', '["a"]', '["a"]', 'applied'],
    ['net.vlan', '4', undefined, 'pending'],
    ['firmware.version', undefined, '"1.2"', 'reported'],
  ]);
});

it('ends after 500 rows', () => {
  const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`m${n}`, n]));
  expect(twinDifference(many, {})).toHaveLength(500);
});
