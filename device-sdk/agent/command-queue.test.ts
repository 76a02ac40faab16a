import { expect, it } from 'vitest';
import { manualTime } from '../../test/fixtures/manual-time.ts';
import type { Command } from '../commands.ts';
import { CommandQueue } from './command-queue.ts';

function command(requestId: string): Command {
  const { signal } = new AbortController();
  return { name: 'reboot', requestId, payload: Buffer.from('{}'), json: () => ({}), signal };
}

function commandQueue() {
  const time = manualTime(0);
  return { time, commandQueue: new CommandQueue({ timeout: 1_000, schedule: time.schedule }) };
}

it('gives a command to one application, and its answer to whoever asked', async () => {
  const { commandQueue: desk } = commandQueue();
  const taken: string[] = [];
  desk.join(({ requestId }) => taken.push(`first ${requestId}`) > 0);
  desk.join(({ requestId }) => taken.push(`second ${requestId}`) > 0);
  const answer = desk.post(command('r1'));
  expect(taken).toEqual(['first r1']);
  expect(desk.answer('r1', 'done')).toBe(true);
  expect(await answer).toBe('done');
  expect(desk.answer('r1', 'again')).toBe(false);
});

it('asks the next application when one cannot take it', () => {
  const { commandQueue: desk } = commandQueue();
  const taken: string[] = [];
  desk.join(() => false);
  desk.join(({ requestId }) => taken.push(requestId) > 0);
  void desk.post(command('r1'));
  expect(taken).toEqual(['r1']);
});

it('keeps a command for an application that comes later, and gives it once', async () => {
  const { commandQueue: desk, time } = commandQueue();
  const answer = desk.post(command('r1'));
  time.advance(999);
  const taken: string[] = [];
  const leave = desk.join(({ requestId }) => taken.push(requestId) > 0);
  leave();
  desk.join(({ requestId }) => taken.push(requestId) > 0);
  expect(taken).toEqual(['r1']);
  desk.answer('r1', 'done');
  expect(await answer).toBe('done');
  expect(time.pending).toBe(0);
});

it('says whether nobody took a command or nobody answered it', async () => {
  const { commandQueue: desk, time } = commandQueue();
  const untaken = desk.post(command('r1'));
  time.advance(1_000);
  await expect(untaken).rejects.toThrow('no application took the command');
  desk.join(() => true);
  const unanswered = desk.post(command('r2'));
  time.advance(1_000);
  await expect(unanswered).rejects.toThrow('the application did not answer in time');
});

it('holds a bounded number of commands', async () => {
  const { commandQueue: desk, time } = commandQueue();
  for (let index = 0; index < 256; index += 1) desk.post(command(`r${index}`)).catch(() => {});
  await expect(desk.post(command('one-more'))).rejects.toThrow('expected at most 256 commands without an answer');
  desk.close();
  expect(time.pending).toBe(0);
});
