import { expect, it } from 'vitest';
import { sharedRead } from './shared-read.ts';

it('a read that is under way is not shared with later calls, which share the next one, also when it fails', async () => {
  const reads: PromiseWithResolvers<number>[] = [];
  const read = sharedRead(() => {
    const one = Promise.withResolvers<number>();
    reads.push(one);
    return one.promise;
  });
  const first = read();
  const later = [read(), read(), read()];
  expect(reads).toHaveLength(1);
  reads[0]?.reject(new Error('the database does not answer'));
  await expect(first).rejects.toThrow('does not answer');
  await expect.poll(() => reads.length).toBe(2);
  const third = read();
  reads[1]?.resolve(2);
  expect(await Promise.all(later)).toEqual([2, 2, 2]);
  await expect.poll(() => reads.length).toBe(3);
  reads[2]?.resolve(3);
  expect(await third).toBe(3);
  const fourth = read();
  expect(reads).toHaveLength(4);
  reads[3]?.resolve(4);
  expect(await fourth).toBe(4);
});
