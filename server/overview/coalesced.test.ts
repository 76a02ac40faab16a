import { expect, it } from 'vitest';
import { coalesced } from './coalesced.ts';

function readingsOf(keep: number) {
  let time = 0;
  const pending: PromiseWithResolvers<string>[] = [];
  const asked: string[] = [];
  const read = coalesced(
    (key: string) => {
      asked.push(key);
      const one = Promise.withResolvers<string>();
      pending.push(one);
      return one.promise;
    },
    keep,
    () => time,
  );
  return {
    read,
    asked,
    pass: (milliseconds: number) => {
      time += milliseconds;
    },
    answer: async (index: number, text: string) => {
      pending[index]?.resolve(text);
      await pending[index]?.promise;
    },
    fail: async (index: number) => {
      pending[index]?.reject(new Error('away'));
      await pending[index]?.promise.catch(() => {});
    },
  };
}

it('all who ask while something is read, and within a time after it began, get the one reading', async () => {
  const { read, asked, pass, answer } = readingsOf(1_000);
  const both = [read('a'), read('a')];
  pass(400);
  await answer(0, 'first');
  expect(await Promise.all([...both, read('a')])).toEqual(['first', 'first', 'first']);
  expect(asked).toEqual(['a']);
  pass(700);
  const next = read('a');
  await answer(1, 'second');
  expect([await next, asked]).toEqual(['second', ['a', 'a']]);
});

it('a reading that takes longer than it is kept is not repeated meanwhile, and is read again afterwards', async () => {
  const { read, asked, pass, answer } = readingsOf(1_000);
  const first = read('a');
  pass(1_500);
  const second = read('a');
  expect(asked).toEqual(['a']);
  await answer(0, 'late');
  expect(await Promise.all([first, second])).toEqual(['late', 'late']);
  void read('a');
  expect(asked).toEqual(['a', 'a']);
});

it('keys are read apart, and what failed is read again after its time', async () => {
  const { read, asked, pass, fail } = readingsOf(1_000);
  const first = read('a');
  void read('b');
  await fail(0);
  await expect(first).rejects.toThrow('away');
  await expect(read('a')).rejects.toThrow('away');
  pass(1_000);
  void read('a');
  expect(asked).toEqual(['a', 'b', 'a']);
});
