import { expect, it } from 'vitest';
import { JournalHead } from './journal-head.ts';

/** A journal of one segment, whose counters follow what it holds a moment later, as those of a thread do. */
function journal(messages: number) {
  let newestPosition = 0;
  return {
    stats: async () => ({
      segments: [{ name: 'today', firstPosition: 1, messages, bytes: 0 }],
      messages,
      bytes: 0,
      damaged: [],
    }),
    counters: () => ({ newestPosition }) as never,
    stored: (position: number) => {
      newestPosition = position;
    },
  };
}

it('is where the journal ended at the start, until something is stored', async () => {
  const kept = journal(460);
  const head = await JournalHead.of(kept);
  expect(head.end).toBe(460);
  kept.stored(461);
  expect(head.end).toBe(461);
});

it('counts a message once that was read before its writer told of it', async () => {
  const kept = journal(440);
  const head = await JournalHead.of(kept);
  head.advanceTo(460);
  kept.stored(460);
  expect(head.end).toBe(460);
});
