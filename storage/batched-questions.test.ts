import { expect, it } from 'vitest';
import { BatchedQuestions } from './batched-questions.ts';

/** Calls wait until they are answered, each question with its length. */
function heldCalls() {
  const calls: { readonly questions: readonly string[]; readonly end: PromiseWithResolvers<void> }[] = [];
  let begun = Promise.withResolvers<void>();
  const batched = new BatchedQuestions(async (questions) => {
    const end = Promise.withResolvers<void>();
    calls.push({ questions, end });
    begun.resolve();
    begun = Promise.withResolvers();
    await end.promise;
    return new Map(questions.filter((one) => one !== 'unknown').map((one) => [one, one.length]));
  });
  return { batched, calls, next: () => begun.promise };
}

it('questions of one turn are one call, which has each question once', async () => {
  const { batched, calls, next } = heldCalls();
  const answers = Promise.all(['a', 'bb', 'a', 'unknown'].map((one) => batched.ask(one)));
  await next();
  expect(calls.map(({ questions }) => questions)).toEqual([['a', 'bb', 'unknown']]);
  calls[0]?.end.resolve();
  expect(await answers).toEqual([1, 2, 1, undefined]);
});

it('a question never joins a call that has begun, and waits for the next one when two are under way', async () => {
  const { batched, calls, next } = heldCalls();
  const answers: Promise<unknown>[] = [];
  for (const question of ['a', 'bb']) {
    answers.push(batched.ask(question));
    await next();
  }
  answers.push(batched.ask('a'), batched.ask('ccc'));
  expect(calls.map(({ questions }) => questions)).toEqual([['a'], ['bb']]);
  calls[1]?.end.resolve();
  await next();
  expect(calls.map(({ questions }) => questions)).toEqual([['a'], ['bb'], ['a', 'ccc']]);
  for (const { end } of calls) end.resolve();
  expect(await Promise.all(answers)).toEqual([1, 2, 1, 3]);
});

it('a call that fails fails for those who asked, and not for the next ones', async () => {
  let isBroken = true;
  const batched = new BatchedQuestions(async (questions) => {
    if (isBroken) throw new Error('broken');
    return new Map(questions.map((one) => [one, one.length]));
  });
  const failed = await Promise.allSettled([batched.ask('a'), batched.ask('bb')]);
  expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  isBroken = false;
  expect(await batched.ask('a')).toBe(1);
});

it('more questions than one call may have are several calls', async () => {
  const sizes: number[] = [];
  const batched = new BatchedQuestions(async (questions) => {
    sizes.push(questions.length);
    return new Map(questions.map((one) => [one, one.length]));
  });
  await Promise.all(Array.from({ length: 2_500 }, (_, n) => batched.ask(`${n}`)));
  expect(sizes.toSorted((one, other) => one - other)).toEqual([500, 1_000, 1_000]);
});
