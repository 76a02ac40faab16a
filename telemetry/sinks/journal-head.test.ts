import { expect, it } from 'vitest';
import { Cursor } from '../cursor.ts';
import { positionOf } from '../position.ts';
import { JournalHead } from './journal-head.ts';

/** A journal whose counters follow what it holds a moment later, as those of a thread do. */
function journal(messages: number) {
  let newest = Cursor.BEGIN;
  return {
    bounds: async () => ({ begin: Cursor.BEGIN, end: Cursor.of([messages]) }),
    counters: () => ({ newest }) as never,
    stored: (position: number) => {
      newest = Cursor.of([position]);
    },
  };
}

it('is where the journal ended at the start, until something is stored', async () => {
  const kept = journal(460);
  const head = await JournalHead.of(kept);
  expect(`${head.end}`).toBe('460');
  kept.stored(461);
  expect(`${head.end}`).toBe('461');
});

it('counts a message once that was read before its writer told of it', async () => {
  const kept = journal(440);
  const head = await JournalHead.of(kept);
  head.advanceTo(positionOf(460));
  kept.stored(460);
  expect(`${head.end}`).toBe('460');
});
