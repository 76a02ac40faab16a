import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { readAnswer, readLines } from './http-request.ts';

async function collect(lines: AsyncIterable<string>): Promise<readonly string[]> {
  const found: string[] = [];
  for await (const line of lines) found.push(line);
  return found;
}

it('an answer is read up to its limit, and a longer one is refused', async () => {
  const answer = () => Readable.from([Buffer.from('abc'), Buffer.from('def')]);
  expect(await readAnswer(answer(), 6)).toBe('abcdef');
  await expect(readAnswer(answer(), 5)).rejects.toMatchObject({
    code: 'internal',
    reason: expect.stringMatching(/5 bytes/),
  });
});

it('lines are read up to their limit, and a longer one is refused', async () => {
  const stream = () => Readable.from([Buffer.from('ab\ncd'), Buffer.from('ef\n\u2028\n')], { objectMode: false });
  expect(await collect(readLines(stream(), 4))).toEqual(['ab', 'cdef', '\u2028']);
  await expect(
    collect(readLines(Readable.from([Buffer.from('abcde')], { objectMode: false }), 4)),
  ).rejects.toMatchObject({
    code: 'internal',
  });
});
