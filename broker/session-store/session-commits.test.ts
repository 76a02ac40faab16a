/** The group commit of session changes: a full disk loses none of them, and clients that wait for one are told in time. */

import { Problem } from '@rollcall/protocol';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { SessionChange } from './session-changes.ts';
import { createSessionCommits, SESSION_COMMIT_LIMITS } from './session-commits.ts';

function start(failures: Error[] = [], patience = 60_000) {
  const written: unknown[][] = [];
  const commits = createSessionCommits({
    limits: { ...SESSION_COMMIT_LIMITS, patience, retryEvery: 1, queuedBytes: 1_000 },
    now: () => 0,
    log: pino({ level: 'silent' }),
    write: async (changes) => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      written.push(changes.map(({ values }) => values[0]));
    },
  });
  const change = (clientId: string): SessionChange => ({ name: 'dropSession', values: [clientId] });
  return { commits, written, add: (clientId: string, bytes = 1) => commits.add(change(clientId), bytes) };
}

const full = () => new Problem('unavailable', { reason: 'SQLITE_FULL' });
const noDirectory = () => new Problem('data_directory_unusable', { reason: 'ENOENT' });

describe('session changes', () => {
  it('of one turn of the event loop are committed together', async () => {
    const { commits, written, add } = start();
    add('a');
    const durable = commits.durable();
    add('b');
    await durable;
    expect(written).toEqual([['a', 'b']]);
  });

  it('are tried again while the disk is full or the directory is gone, and none is lost', async () => {
    const { commits, written, add } = start([full(), noDirectory()]);
    add('a');
    await commits.durable();
    expect(written).toEqual([['a']]);
  });

  it('are stored in the end although clients were told that they are not, and more than fits is refused', async () => {
    const { commits, written, add } = start([full()], 0);
    add('a', 2_000);
    expect(commits.hasRoomFor(1)).toBe(false);
    await expect(commits.durable()).rejects.toMatchObject({ code: 'unavailable' });
    add('b');
    await commits.durable();
    expect(written).toEqual([['a'], ['b']]);
    expect(commits.hasRoomFor(1)).toBe(true);
  });

  it('that can never be written are given up, and later ones are written', async () => {
    const { commits, written, add } = start([new Error('no such column')]);
    add('a');
    await expect(commits.durable()).rejects.toThrow('no such column');
    add('b');
    await commits.durable();
    expect(written).toEqual([['b']]);
  });
});
