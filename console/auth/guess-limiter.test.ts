import { describe, expect, it } from 'vitest';
import { GuessLimiter } from './guess-limiter.ts';

function limiter() {
  const clock = { now: 0 };
  const guesses = new GuessLimiter(() => clock.now);
  /** How many of `count` passwords were counted and not refused. */
  const allowed = (count: number, addressOf: (n: number) => string, isKnownNetwork = false, name = 'ada') => {
    let passed = 0;
    for (let n = 0; n < count; n += 1) {
      try {
        guesses.countPassword({ name, address: addressOf(n), isKnownNetwork });
        passed += 1;
      } catch (error) {
        expect(error).toMatchObject({ code: 'rate_limited', retryAfter: expect.any(Number) });
      }
    }
    return passed;
  };
  return { clock, guesses, allowed };
}

describe('guesses of passwords', () => {
  it('from one network are limited, whatever names they are of', () => {
    const { clock, allowed } = limiter();
    expect([allowed(6, () => '192.0.2.1', false, 'ada'), allowed(20, () => '192.0.2.1', false, 'bob')]).toEqual([6, 4]);
    clock.now += 60_000;
    expect(allowed(20, () => '192.0.2.1', false, 'eve')).toBe(10);
  });

  it('of one name are limited, from however many networks', () => {
    const { clock, allowed } = limiter();
    expect(allowed(1_000, (n) => `10.0.${n >> 8}.${n & 255}`)).toBe(10);
    clock.now += 3_600_000;
    expect(allowed(1_000, (n) => `10.1.${n >> 8}.${n & 255}`)).toBe(10);
  });

  it('from elsewhere do not lock an operator out on a network that it used before', () => {
    const { allowed } = limiter();
    allowed(1_000, (n) => `10.0.${n >> 8}.${n & 255}`);
    allowed(20, () => '198.51.100.7', false, 'eve');
    expect(allowed(1, () => '198.51.100.7')).toBe(0);
    expect(allowed(20, () => '198.51.100.7', true)).toBe(10);
  });
});

describe('codes after a right password', () => {
  const guess = { name: 'ada', address: '192.0.2.1', isKnownNetwork: false };

  it('are limited to a few per name', () => {
    const { clock, guesses } = limiter();
    for (let n = 0; n < 5; n += 1) guesses.countCode(guess);
    expect(() => guesses.countCode({ ...guess, address: '192.0.2.2' })).toThrow(/too many/);
    clock.now += 300_000;
    guesses.countCode(guess);
  });

  it('are limited also on a network that the operator used before, because others may share it', () => {
    const { clock, guesses } = limiter();
    const known = { ...guess, isKnownNetwork: true };
    for (let n = 0; n < 10; n += 1) guesses.countCode(known);
    expect(() => guesses.countCode(known)).toThrow(/too many/);
    clock.now += 60_000;
    guesses.countCode(known);
    expect(() => guesses.countCode(known)).toThrow(/too many/);
  });
});
