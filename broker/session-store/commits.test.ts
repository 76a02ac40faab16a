/** Group commits: in order, all or nothing for one turn, and patient with a disk that is full. */

import { Problem } from '@rollcall/protocol';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { COMMIT_LIMITS, Commits } from './commits.ts';

function start(answers: (Error | undefined)[] = [], patience = 60_000) {
  const written: string[][] = [];
  const commits = new Commits<string>({
    limits: { ...COMMIT_LIMITS, patience, retryEvery: 1, waitingBytes: 1_000 },
    now: () => 0,
    log: pino({ level: 'silent' }),
    write: async (changes) => {
      const error = answers.shift();
      if (error !== undefined) throw error;
      written.push([...changes]);
    },
  });
  return { commits, written };
}

const full = () => new Problem('unavailable', { reason: 'SQLITE_FULL' });

describe('commits', () => {
  it('write what was pushed in one turn together, in order', async () => {
    const { commits, written } = start();
    commits.push('a', 0);
    const stored = commits.durable();
    commits.push('b', 0);
    await stored;
    expect(written).toEqual([['a', 'b']]);
  });

  it('settle those who wait in the order of their calls', async () => {
    const { commits } = start();
    const settled: number[] = [];
    const all = [1, 2, 3].map(async (number) => {
      commits.push(String(number), 0);
      await commits.durable().then(() => settled.push(number));
    });
    await Promise.all(all);
    expect(settled).toEqual([1, 2, 3]);
  });

  it('wait for nothing when nothing is to be written', async () => {
    const { commits } = start();
    await commits.durable();
    expect(commits.committed).toBe(0);
  });

  it('try again what a full disk did not take, and lose none of it', async () => {
    const { commits, written } = start([full(), full()]);
    commits.push('a', 0);
    await commits.durable();
    expect(written).toEqual([['a']]);
  });

  it('tell who waits after a while, keep the changes all the same, and take no more than fits', async () => {
    const { commits, written } = start([full()], 0);
    commits.push('a', 2_000);
    expect(commits.isTaking).toBe(false);
    await expect(commits.durable()).rejects.toMatchObject({ code: 'unavailable' });
    commits.push('b', 0);
    await commits.durable();
    expect(written).toEqual([['a'], ['b']]);
    expect(commits.isTaking).toBe(true);
  });

  it('give up what can never be written, and go on', async () => {
    const { commits, written } = start([new Error('no such column')]);
    commits.push('a', 0);
    await expect(commits.durable()).rejects.toThrow('no such column');
    commits.push('b', 0);
    await commits.durable();
    expect(written).toEqual([['b']]);
  });

  it('are all written when they are closed', async () => {
    const { commits, written } = start();
    commits.push('a', 0);
    await commits.close();
    expect(written).toEqual([['a']]);
    expect(commits.isTaking).toBe(false);
  });
});
