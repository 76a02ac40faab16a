import { describe, expect, it } from 'vitest';
import { AnswerMemory } from './answer-memory.ts';

const MIB = 1_048_576;
const answer = (length: number) => ({ text: 'x'.repeat(length) });

describe('the memory of answers', () => {
  it('forgets the oldest answers of an operator that has more than 2 MiB, and none of another', () => {
    const memory = new AnswerMemory(() => 0);
    memory.put('other', 'operator/bob', answer(10));
    for (const name of ['a', 'b', 'c']) memory.put(name, 'operator/ada', answer(MIB - 1_000));
    expect(['other', 'a', 'b', 'c'].map((name) => memory.get(name) !== undefined)).toEqual([true, false, true, true]);
  });

  it('forgets the oldest answers of all beyond 16 MiB', () => {
    const memory = new AnswerMemory(() => 0);
    for (let n = 0; n < 20; n += 1) memory.put(`n${n}`, `operator/o${n}`, answer(MIB));
    const left = Array.from({ length: 20 }, (_, n) => memory.get(`n${n}`) !== undefined);
    expect(left).toEqual([...new Array(5).fill(false), ...new Array(15).fill(true)]);
  });

  it('does not store an answer that is longer than the share of an operator', () => {
    const memory = new AnswerMemory(() => 0);
    memory.put('small', 'operator/ada', answer(10));
    memory.put('large', 'operator/ada', answer(2 * MIB));
    expect([memory.get('small') !== undefined, memory.get('large')]).toEqual([true, undefined]);
  });

  it('forgets an answer after 24 hours', () => {
    let now = 0;
    const memory = new AnswerMemory(() => now);
    memory.put('a', 'operator/ada', answer(10));
    now = 86_400_000 - 1;
    expect(memory.get('a')).toBeDefined();
    now += 1;
    expect(memory.get('a')).toBeUndefined();
  });
});
