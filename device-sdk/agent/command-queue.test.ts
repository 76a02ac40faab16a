import { expect, it } from 'vitest';
import { manualTime } from '../../test/fixtures/manual-time.ts';
import type { Command } from '../commands.ts';
import { CommandQueue } from './command-queue.ts';

function command(requestId: string): Command {
  const { signal } = new AbortController();
  return { name: 'reboot', requestId, payload: Buffer.from('{}'), json: () => ({}), signal };
}

function openQueue() {
  const time = manualTime(0);
  return { time, queue: new CommandQueue({ timeout: 1_000, schedule: time.schedule }) };
}

it('gives a command to one application, and its response to the sender', async () => {
  const { queue } = openQueue();
  const taken: string[] = [];
  queue.join(({ requestId }) => taken.push(`first ${requestId}`) > 0);
  queue.join(({ requestId }) => taken.push(`second ${requestId}`) > 0);
  const answer = queue.post(command('r1'));
  expect(taken).toEqual(['first r1']);
  expect(queue.answer('r1', 'done')).toBe(true);
  expect(await answer).toBe('done');
  expect(queue.answer('r1', 'again')).toBe(false);
});

it('asks the next application when one cannot take it', () => {
  const { queue } = openQueue();
  const taken: string[] = [];
  queue.join(() => false);
  queue.join(({ requestId }) => taken.push(requestId) > 0);
  void queue.post(command('r1'));
  expect(taken).toEqual(['r1']);
});

it('keeps a command for an application that comes later, and gives it once', async () => {
  const { queue, time } = openQueue();
  const answer = queue.post(command('r1'));
  time.advance(999);
  const taken: string[] = [];
  const leave = queue.join(({ requestId }) => taken.push(requestId) > 0);
  leave();
  queue.join(({ requestId }) => taken.push(requestId) > 0);
  expect(taken).toEqual(['r1']);
  queue.answer('r1', 'done');
  expect(await answer).toBe('done');
  expect(time.pending).toBe(0);
});

it('says whether nobody took a command or nobody answered it', async () => {
  const { queue, time } = openQueue();
  const untaken = queue.post(command('r1'));
  time.advance(1_000);
  await expect(untaken).rejects.toThrow('no application took the command');
  queue.join(() => true);
  const unanswered = queue.post(command('r2'));
  time.advance(1_000);
  await expect(unanswered).rejects.toThrow('the application did not answer in time');
});

it('holds a bounded number of commands', async () => {
  const { queue, time } = openQueue();
  for (let index = 0; index < 256; index += 1) queue.post(command(`r${index}`)).catch(() => {});
  await expect(queue.post(command('one-more'))).rejects.toThrow('expected at most 256 commands without an answer');
  queue.close();
  expect(time.pending).toBe(0);
});
