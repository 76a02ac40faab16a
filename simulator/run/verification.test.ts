import { expect, it } from 'vitest';
import { SequenceSet } from '../devices/sequence-set.ts';
import { countMissing, readJournal } from './verification.ts';

async function* exported(...messages: readonly object[]): AsyncGenerator<Buffer> {
  const text = messages.map((message) => `${JSON.stringify(message)}\n`).join('');
  // Chunks end in the middle of a line.
  for (let at = 0; at < text.length; at += 7) yield Buffer.from(text.slice(at, at + 7));
}

const stored = (device: string, seq: number) => ({ device, stream: 'heat', payload: { device, seq } });

it('a stored message of one device makes up for no lost message of another', async () => {
  const acknowledged = SequenceSet.byKey([{ 'a heat': [1, 3] }, { 'b heat': [1, 2] }]);
  const lines = [stored('a', 1), stored('a', 2), stored('b', 1), stored('b', 2), stored('b', 3), stored('c', 3)];
  const { seen } = await readJournal(exported(...lines), (device) => device !== 'c');
  expect(countMissing(acknowledged, seen)).toBe(1);
});

it('a message that the journal holds twice is a duplicate', async () => {
  const { duplicates } = await readJournal(exported(stored('a', 1), stored('a', 1)), () => true);
  expect(duplicates).toBe(1);
});
