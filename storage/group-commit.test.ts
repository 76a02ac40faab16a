/** Group commit: batches, durability, failures, pressure and the end, whatever an entry is. */

import { Problem } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { GroupCommit } from './group-commit.ts';
import type { GroupCommitLimits, GroupCommitOptions } from './group-commit-options.ts';

const FULL = new Problem('unavailable', { reason: 'SQLITE_FULL' });

const LIMITS: GroupCommitLimits = { window: 1, queuedBytes: 1000, patience: 60_000, retryEvery: 1 };

type Options = Partial<Omit<GroupCommitOptions<string, string, void>, 'limits'>>;

/** A group commit whose writes end when the test says so, one after the other. */
function controlled(limits: Partial<GroupCommitLimits> = {}, options: Options = {}) {
  let now = 0;
  const told: string[] = [];
  const writes: { readonly entries: readonly string[]; end(error?: unknown): void }[] = [];
  let asked = Promise.withResolvers<void>();
  const commits = new GroupCommit<string, string>({
    limits: { ...LIMITS, ...limits },
    now: () => now,
    afterPatience: 'discard',
    write: (entries) =>
      new Promise((resolve, reject) => {
        writes.push({
          entries: [...entries],
          end: (error) => (error === undefined ? resolve() : reject(error)),
        });
        asked.resolve();
      }),
    committed: (entries, waiters) => told.push(`committed ${entries} for ${waiters}`),
    discarded: (entries, _, error) => told.push(`discarded ${entries}: ${(error as Error).message}`),
    held: (entries) => told.push(`held ${entries}`),
    resumed: () => told.push('resumed'),
    pressureChanged: (isUnderPressure) => told.push(`pressure ${isUnderPressure}`),
    ...options,
  });
  return {
    commits,
    told,
    writes,
    pass: (ms: number) => {
      now += ms;
    },
    nextWrite: async () => {
      while (writes.length === 0) {
        await asked.promise;
        asked = Promise.withResolvers();
      }
      return writes.shift() as (typeof writes)[number];
    },
  };
}

const tick = () => new Promise((resolve) => setImmediate(resolve));

describe('a batch', () => {
  it('has everything that is added in one turn of the event loop, in order, and its waiters beside it', async () => {
    const { commits, nextWrite, told } = controlled();
    commits.add('a', 1, 'one');
    commits.add('b', 1);
    const durable = commits.durable();
    commits.add('c', 1, 'three');
    const write = await nextWrite();
    expect(write.entries).toEqual(['a', 'b', 'c']);
    expect([commits.queuedBytes, commits.waitingEntries]).toEqual([3, 0]);
    write.end();
    await durable;
    expect(told).toEqual(['committed a,b,c for one,,three']);
    expect([commits.queuedBytes, commits.commits]).toEqual([0, 1]);
  });

  it('is written at once when it is full, in number or in bytes, and one after the other', async () => {
    const { commits, nextWrite, writes } = controlled({ window: 1e6, batchEntries: 2, batchBytes: 100 });
    for (const entry of ['a', 'b', 'c', 'd', 'e']) commits.add(entry, 1);
    const first = await nextWrite();
    expect([first.entries, writes.length, commits.waitingEntries]).toEqual([['a', 'b'], 0, 3]);
    first.end();
    (await nextWrite()).end();
    await tick();
    expect(writes).toEqual([]);
    commits.add('large', 100);
    expect((await nextWrite()).entries).toEqual(['e', 'large']);
  });

  it('that nobody waits for gathers for its idle window', async () => {
    const { commits, nextWrite, writes } = controlled({ idleWindow: 1e6 });
    commits.add('a', 1);
    await tick();
    expect(writes).toEqual([]);
    const durable = commits.durable();
    const first = await nextWrite();
    // What somebody waits for while another batch is being written follows it without a window.
    commits.add('b', 1);
    const next = commits.durable();
    first.end();
    await durable;
    (await nextWrite()).end();
    await next;
  });

  it('holds what is added just before it is closed', async () => {
    const late = ['x', 'y'];
    const { commits, nextWrite } = controlled(
      {},
      {
        beforeCommit: () => {
          for (const entry of late.splice(0)) commits.add(entry, 1);
        },
      },
    );
    commits.schedule();
    const write = await nextWrite();
    expect(write.entries).toEqual(['x', 'y']);
    write.end();
    await commits.flush();
    expect(commits.commits).toBe(1);
  });
});

describe('durability', () => {
  it('is told in the order of the calls, never before the write ends, and at once when nothing waits', async () => {
    const { commits, nextWrite } = controlled({ batchEntries: 1 });
    await commits.durable();
    const settled: string[] = [];
    const all = ['a', 'b', 'c'].map((entry) => {
      commits.add(entry, 1);
      return commits.durable().then(() => settled.push(entry));
    });
    for (const entry of ['a', 'b', 'c']) {
      const write = await nextWrite();
      expect(settled).not.toContain(entry);
      write.end();
    }
    await Promise.all(all);
    expect(settled).toEqual(['a', 'b', 'c']);
  });

  it('covers the batch that is being written when nothing was added since', async () => {
    const { commits, nextWrite } = controlled();
    commits.add('a', 1);
    const write = await nextWrite();
    let isDurable = false;
    const durable = commits.durable().then(() => {
      isDurable = true;
    });
    await tick();
    expect(isDurable).toBe(false);
    write.end();
    await durable;
  });

  it('is reached by a flush for all that was added, without a window', async () => {
    const { commits, nextWrite } = controlled({ window: 1e6, batchEntries: 2 });
    for (const entry of ['a', 'b', 'c']) commits.add(entry, 1);
    const flushed = commits.flush();
    (await nextWrite()).end();
    (await nextWrite()).end();
    await flushed;
    expect([commits.commits, commits.queuedBytes]).toEqual([2, 0]);
  });
});

describe('storage that fails', () => {
  it('is tried again with the same batch until it takes it, and the failure is told once', async () => {
    const { commits, nextWrite, told } = controlled();
    commits.add('a', 1);
    const durable = commits.durable();
    (await nextWrite()).end(FULL);
    const again = await nextWrite();
    commits.add('b', 1);
    const flushed = commits.flush();
    again.end(FULL);
    await flushed; // nothing can be written now
    const third = await nextWrite();
    expect(third.entries).toEqual(['a']);
    third.end();
    (await nextWrite()).end();
    await durable;
    await commits.flush();
    expect(told).toEqual([
      'held a',
      'pressure true',
      'pressure false',
      'resumed',
      'committed a for ',
      'committed b for ',
    ]);
  });

  it('for longer than patience lasts loses the batch, but no later one', async () => {
    const { commits, nextWrite, told, pass } = controlled({ patience: 1000 });
    commits.add('a', 1);
    const lost = commits.durable();
    (await nextWrite()).end(FULL);
    const again = await nextWrite();
    commits.add('b', 1);
    const stored = commits.durable();
    pass(1000);
    again.end(FULL);
    await expect(lost).rejects.toBe(FULL);
    expect(commits.isUnderPressure).toBe(true); // until the next batch shows that it works again
    (await nextWrite()).end();
    await stored;
    expect(commits.isUnderPressure).toBe(false);
    expect(told).toContain(`discarded a: ${FULL.message}`);
  });

  it('for longer than patience lasts loses nothing that must not be lost: only waiters are told', async () => {
    const { commits, nextWrite, told } = controlled({ patience: 0 }, { afterPatience: 'retry' });
    commits.add('a', 1);
    const first = commits.durable();
    const failing = await nextWrite();
    commits.add('b', 1);
    const second = commits.durable();
    failing.end(FULL);
    await expect(first).rejects.toBe(FULL);
    await expect(second).rejects.toBe(FULL);
    const stored = commits.durable();
    (await nextWrite()).end();
    (await nextWrite()).end();
    await stored;
    expect(told).toContain('committed a for ');
    expect(commits.queuedBytes).toBe(0);
  });

  it('with an error that will not pass loses the batch at once, and goes on', async () => {
    const { commits, nextWrite } = controlled();
    commits.add('a', 1);
    const lost = commits.durable();
    (await nextWrite()).end(new Error('no such column'));
    await expect(lost).rejects.toThrow('no such column');
    expect([commits.queuedBytes, commits.isUnderPressure]).toEqual([0, false]);
    commits.add('b', 1);
    const stored = commits.durable();
    (await nextWrite()).end();
    await stored;
  });
});

describe('batches that are written at once', () => {
  const several = (limits: Partial<GroupCommitLimits> = {}) =>
    controlled({ inFlight: 3, batchEntries: 1, window: 1e6, ...limits });

  it('are at most as many as are allowed, and are reported in their order, whichever ends first', async () => {
    const { commits, nextWrite, told, writes } = several();
    for (const entry of ['a', 'b', 'c', 'd']) commits.add(entry, 1);
    const [a, b, c] = [await nextWrite(), await nextWrite(), await nextWrite()];
    expect([a, b, c].map(({ entries }) => entries)).toEqual([['a'], ['b'], ['c']]);
    c.end();
    b.end();
    await tick();
    expect([told, writes, commits.queuedBytes]).toEqual([[], [], 4]);
    a.end();
    (await nextWrite()).end();
    await commits.flush();
    expect(told).toEqual(['a', 'b', 'c', 'd'].map((entry) => `committed ${entry} for `));
  });

  it('are written beside one that takes long, although they are not full', async () => {
    const { commits, nextWrite, told } = several({ batchEntries: 9, window: 1 });
    const writes: Awaited<ReturnType<typeof nextWrite>>[] = [];
    for (const entry of ['a', 'b', 'c']) {
      commits.add(entry, 1);
      writes.push(await nextWrite());
    }
    for (const write of writes.toReversed()) write.end();
    await commits.flush();
    expect(told).toEqual(['a', 'b', 'c'].map((entry) => `committed ${entry} for `));
  });

  it('wait for one that fails: it is written again, those that were stored are not, and nothing new is written before it', async () => {
    const { commits, nextWrite, told, writes } = several();
    for (const entry of ['a', 'b', 'c']) commits.add(entry, 1);
    const [a, b, c] = [await nextWrite(), await nextWrite(), await nextWrite()];
    b.end(FULL);
    c.end(FULL);
    a.end();
    commits.add('d', 1);
    const again = [await nextWrite(), await nextWrite()];
    expect([again.map(({ entries }) => entries), writes]).toEqual([[['b'], ['c']], []]);
    for (const write of again) write.end();
    (await nextWrite()).end();
    await commits.flush();
    expect(told.filter((line) => line.startsWith('committed')).length).toBe(4);
    expect(told.filter((line) => line.startsWith('held'))).toEqual(['held b']);
  });

  it('are discarded together with one before them, whatever became of them', async () => {
    const { commits, nextWrite, told } = several();
    const durable = ['a', 'b', 'c'].map((entry) => {
      commits.add(entry, 1);
      return commits.durable();
    });
    const [a, b, c] = [await nextWrite(), await nextWrite(), await nextWrite()];
    b.end();
    a.end(new Error('no such column'));
    for (const one of durable) await expect(one).rejects.toThrow('no such column');
    c.end();
    await tick();
    expect(told).toEqual(['a', 'b', 'c'].map((entry) => `discarded ${entry}: no such column`));
    expect([commits.queuedBytes, commits.commits]).toEqual([0, 0]);
    commits.add('d', 1);
    (await nextWrite()).end();
    await commits.flush();
    expect(told.at(-1)).toBe('committed d for ');
  });
});

describe('pressure', () => {
  it('begins at half of what may be queued and ends at a quarter', async () => {
    const { commits, nextWrite, told } = controlled({ window: 1e6, batchEntries: 2 });
    commits.add('a', 250);
    commits.add('b', 250);
    expect(told).toEqual([]);
    commits.add('c', 200);
    expect(told).toEqual(['pressure true']);
    expect([commits.hasRoomFor(300), commits.hasRoomFor(301)]).toEqual([true, false]);
    (await nextWrite()).end();
    await tick();
    expect(told).toEqual(['pressure true', 'pressure false', 'committed a,b for ,']);
  });
});

describe('the end', () => {
  it('writes everything that was added, and leaves no room', async () => {
    const { commits, nextWrite } = controlled({ window: 1e6 });
    commits.add('a', 1);
    const closing = commits.close();
    (await nextWrite()).end();
    await closing;
    expect([commits.commits, commits.hasRoomFor(0), commits.isClosed]).toEqual([1, false, true]);
  });

  it('tries a held batch once more, discards it when that fails, and still writes the next', async () => {
    const { commits, nextWrite, told } = controlled({ retryEvery: 1e6, window: 1e6, batchEntries: 1 });
    commits.add('a', 1);
    (await nextWrite()).end(FULL);
    commits.add('b', 1);
    await tick();
    const closing = commits.close();
    (await nextWrite()).end(FULL);
    (await nextWrite()).end();
    await closing;
    expect(told).toEqual(expect.arrayContaining([`discarded a: ${FULL.message}`, 'committed b for ']));
  });
});
