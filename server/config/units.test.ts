import { describe, expect, it } from 'vitest';
import { parseDuration, parseSize } from './units.ts';

describe('a duration', () => {
  it.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['15m', 900_000],
    ['24h', 86_400_000],
    ['90d', 7_776_000_000],
    ['3y', 94_608_000_000],
  ])('of %s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['', '10', 's', '1.5h', '-1s', '1 h', '1H', '10constructor', '1w', '9999999999s'])(
    'is not read from %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );
});

describe('a size', () => {
  it('is read in binary units', () => {
    expect(['512B', '256KiB', '1MiB', '2GiB'].map(parseSize)).toEqual([512, 262_144, 1_048_576, 2_147_483_648]);
  });

  it.each(['', '1', '1KB', '1kib', '1.5MiB'])('is not read from %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});
