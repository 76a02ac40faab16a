import { expect, it } from 'vitest';
import { HangDetector } from './hang-detector.ts';

const SECOND = 1_000;

it('a thread hangs when it has answered nothing for the given time', () => {
  const detector = new HangDetector(3 * SECOND);
  const ask = (asked: number) => detector.unanswered({ asked, now: asked + SECOND, limit: SECOND });
  expect([ask(0), ask(SECOND), ask(2 * SECOND)]).toEqual([undefined, undefined, 3 * SECOND]);
});

it('a thread that answers now and then does not hang', () => {
  const detector = new HangDetector(3 * SECOND);
  for (let asked = 0; asked < 20 * SECOND; asked += SECOND) {
    expect(detector.unanswered({ asked, now: asked + SECOND, limit: SECOND })).toBeUndefined();
    if (asked % (2 * SECOND) === 0) detector.reset();
  }
});

it('a machine that was suspended proves nothing about a thread', () => {
  const detector = new HangDetector(3 * SECOND);
  expect(detector.unanswered({ asked: 0, now: SECOND, limit: SECOND })).toBeUndefined();
  expect(detector.unanswered({ asked: SECOND, now: 3_600 * SECOND, limit: SECOND })).toBeUndefined();
  const later = { asked: 3_600 * SECOND, now: 3_601 * SECOND, limit: SECOND };
  expect(detector.unanswered(later)).toBeUndefined();
});
