import { expect, it } from 'vitest';
import { closestWord } from './closest-word.ts';

it.each([
  ['smok', ['attack', 'smoke', 'steady-10k'], 'smoke'],
  ['evry', ['every', 'stream', 'count'], 'every'],
  ['cuont', ['count', 'counts'], 'count'],
  ['ACTIV', ['active', 'revoked'], 'active'],
  ['roots', ['root', 'crl'], 'root'],
  ['x', ['every', 'y'], undefined],
  ['nothing-like-it', ['smoke', 'clones'], undefined],
  ['a'.repeat(65), ['a'.repeat(64)], undefined],
])('the closest word to %j is found, and none for a word that is like none', (word, candidates, expected) => {
  expect(closestWord(word, candidates)).toBe(expected);
});
