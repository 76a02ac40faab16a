import { expect, it } from 'vitest';
import { numberAt, numberFields } from './json-fields.ts';

it('finds each number of a payload with the pointer to it', () => {
  const payload = { celsius: 21.5, 'a/b': { 'c~d': [1, 'two', { x: 3 }] }, name: 'x', none: null };
  expect(numberFields(payload)).toEqual([
    { pointer: '/celsius', value: 21.5 },
    { pointer: '/a~1b/c~0d/0', value: 1 },
    { pointer: '/a~1b/c~0d/2/x', value: 3 },
  ]);
  for (const { pointer, value } of numberFields(payload)) expect(numberAt(payload, pointer)).toBe(value);
  expect(numberFields(7)).toEqual([{ pointer: '', value: 7 }]);
  expect(numberAt(7, '')).toBe(7);
  expect(numberAt(payload, '/constructor/length')).toBeUndefined();
});

it('finds at most 200 numbers, however many or however deep they are', () => {
  expect(numberFields(Array.from({ length: 100_000 }, (_, n) => n))).toHaveLength(200);
  expect(numberFields(JSON.parse(`${'['.repeat(5_000)}1${']'.repeat(5_000)}`))).toEqual([]);
});
