import { describe, expect, it } from 'vitest';
import { parseDecimal, parseFraction } from './decimal.ts';

const HOSTILE = [
  '',
  ' ',
  '-1',
  '+1',
  '1 ',
  '0x10',
  '1e3',
  '1e999',
  'Infinity',
  'NaN',
  '1_0',
  '١',
  '99999999999999999',
  '-0000001000',
];

describe('a number in text', () => {
  it.each(HOSTILE)('that reads %j is none', (text) => {
    expect(parseDecimal(text, Number.MIN_SAFE_INTEGER)).toBeUndefined();
    expect(parseFraction(text, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)).toBeUndefined();
  });

  it('is read within its range alone', () => {
    expect([parseDecimal('007', 0), parseDecimal('8', 0, 7), parseDecimal('1', 2)]).toEqual([7, undefined, undefined]);
    expect([parseDecimal('1.5', 0), parseFraction('1.5', 0, 2), parseFraction('1.', 0, 2)]).toEqual([
      undefined,
      1.5,
      undefined,
    ]);
    expect(parseDecimal(['1'], 0)).toBeUndefined();
  });
});
