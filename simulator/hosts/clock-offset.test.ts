import { describe, expect, it } from 'vitest';
import { ClockOffset } from './clock-offset.ts';

/** An exchange in which the way there and the way back take so long, with a clock that is ahead. */
function exchange(sent: number, there: number, back: number, ahead: number) {
  return { sent, there: sent + there + ahead, received: sent + there + back };
}

describe('the offset of a clock', () => {
  it('is exact over a way that is as long there as back', () => {
    const clock = new ClockOffset();
    clock.add(exchange(1_000, 4, 4, 250));
    expect(clock.fix()).toEqual({ offset: 250, error: 4 });
  });

  it('is wrong by no more than half of the time that the exchange took, whichever way took it', () => {
    for (const [there, back] of [
      [9, 1],
      [1, 9],
      [10, 0],
    ] as const) {
      const clock = new ClockOffset();
      clock.add(exchange(0, there, back, -500));
      const { offset, error } = clock.fix();
      expect(error).toBe(5);
      expect(Math.abs(offset - -500)).toBeLessThanOrEqual(error);
    }
  });

  it('is taken from the shortest exchange', () => {
    const clock = new ClockOffset();
    clock.add(exchange(0, 90, 10, 100));
    clock.add(exchange(200, 1, 1, 100));
    clock.add(exchange(300, 10, 60, 100));
    expect(clock.fix()).toEqual({ offset: 100, error: 1 });
  });

  it('stays what it was during the run, with an error that holds for a clock that drifts', () => {
    const clock = new ClockOffset();
    clock.add(exchange(0, 1, 1, 100));
    clock.fix();
    clock.add(exchange(5_000, 2, 2, 101));
    expect(clock.reading).toEqual({ offset: 100, error: 1 }); // no more than the readings are wrong by
    clock.add(exchange(9_000, 1, 1, 130));
    expect(clock.reading).toEqual({ offset: 100, error: 31 });
  });

  it('is known to nothing before an exchange', () => {
    expect(new ClockOffset().fix().error).toBe(Number.POSITIVE_INFINITY);
  });
});
