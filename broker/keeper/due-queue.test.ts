import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DueItem, DueQueue } from './due-queue.ts';

const item = (dueAt: number): DueItem => ({ dueAt, position: -1 });

describe('a due queue', () => {
  it('is empty at first, and ignores an item that it does not contain', () => {
    const queue = new DueQueue();
    expect([queue.size, queue.first, queue.remove(item(1))]).toEqual([0, undefined, false]);
  });

  it('returns items in the order of their times, whichever were removed before', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ at: fc.nat(50), isRemoved: fc.boolean() })), (all) => {
        const queue = new DueQueue();
        const items = all.map(({ at }) => item(at));
        for (const one of items) queue.add(one);
        const removed = items.filter((_, index) => all[index]?.isRemoved);
        for (const one of removed) expect(queue.remove(one)).toBe(true);
        for (const one of removed) expect(queue.remove(one)).toBe(false);
        const taken: number[] = [];
        for (let first = queue.first; first !== undefined; first = queue.first) {
          taken.push(first.dueAt);
          queue.remove(first);
        }
        const rest = all.filter(({ isRemoved }) => !isRemoved).map(({ at }) => at);
        expect(taken).toEqual(rest.sort((a, b) => a - b));
        expect(queue.size).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
