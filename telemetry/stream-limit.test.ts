/** How many streams a device may have, counted over what the journal holds. */

import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { message } from '../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { openTelemetry } from './open.ts';
import { type DeviceStreams, StreamLimit } from './stream-limit.ts';

const log = pino({ level: 'silent' });
const DAY = 86_400_000;
const START = Date.UTC(2030, 0, 1);

describe('the limit of streams', () => {
  it('admits so many of each device, and those again', () => {
    const limit = new StreamLimit({ max: 2, read: async () => [], log });
    const admitted = ['a', 'b', 'c', 'a', 'b'].map((stream) => limit.admit('pump-1', stream));
    expect(admitted).toEqual([true, true, false, true, true]);
    expect(limit.admit('pump-2', 'c')).toBe(true);
  });

  it('admits any number where there is none', async () => {
    const limit = new StreamLimit({ max: 0, read: () => Promise.reject(new Error('nobody asks')), log });
    await limit.refresh();
    for (let i = 0; i < 1000; i += 1) expect(limit.admit('pump-1', `s-${i}`)).toBe(true);
  });

  it('keeps the streams of a device that has more already, and admits none beside them', async () => {
    const limit = new StreamLimit({ max: 2, read: async () => [['pump-1', ['a', 'b', 'c']]], log });
    await limit.refresh();
    expect(['a', 'b', 'c', 'd'].map((stream) => limit.admit('pump-1', stream))).toEqual([true, true, true, false]);
  });

  it('frees a stream that the journal no longer holds, but none that may still be stored', async () => {
    let held: DeviceStreams[] = [['pump-1', ['old']]];
    const limit = new StreamLimit({ max: 2, read: async () => held, log });
    await limit.refresh();
    expect(limit.admit('pump-1', 'new')).toBe(true);
    held = [];
    await limit.refresh();
    expect(limit.admit('pump-1', 'other')).toBe(true);
    expect(limit.admit('pump-1', 'one more')).toBe(false);
    await limit.refresh();
    await limit.refresh();
    expect(limit.admit('pump-1', 'one more')).toBe(true);
  });

  it('continues with what it knows when the journal cannot be read', async () => {
    let isBroken = false;
    const read = async (): Promise<DeviceStreams[]> => {
      if (isBroken) throw new Error('the disk is gone');
      return [['pump-1', ['a']]];
    };
    const limit = new StreamLimit({ max: 1, read, log });
    await limit.refresh();
    isBroken = true;
    await limit.refresh();
    expect(limit.admit('pump-1', 'a')).toBe(true);
    expect(limit.admit('pump-1', 'b')).toBe(false);
  });
});

it('streams are known after a restart, until the journal holds 30 later days or removed their messages', async () => {
  const directory = temporaryDirectory();
  let now = START;
  const open = async () => {
    const telemetry = await openTelemetry({ directory, streams: 1, now: () => now, log });
    onTestFinished(() => telemetry.close());
    return telemetry;
  };
  const first = await open();
  for (const [device, stream] of [
    ['pump-1', 'first'],
    ['pump-2', 'first'],
  ] as const) {
    expect(first.streams.admit(device, stream)).toBe(true);
    await first.accept(message(device, 'x', { stream, receivedAt: now }));
  }
  await first.close();

  now += 30 * DAY;
  const second = await open();
  expect(second.streams.admit('pump-1', 'second')).toBe(false);
  await second.accept(message('pump-2', 'y', { stream: 'first', receivedAt: now }));
  expect(second.streams.admit('pump-1', 'first')).toBe(true);
  await second.close();

  now += DAY;
  const third = await open();
  await third.accept(message('pump-2', 'z', { stream: 'first', receivedAt: now }));
  await third.close();
  const fourth = await open();
  expect(fourth.streams.admit('pump-2', 'second')).toBe(false);
  expect(fourth.streams.admit('pump-1', 'second')).toBe(true);
  await fourth.accept(message('pump-1', 'x', { stream: 'second', receivedAt: now }));
  await fourth.close();

  now += DAY;
  const fifth = await open();
  await fifth.accept(message('pump-2', 'z', { stream: 'first', receivedAt: now }));
  expect(fifth.streams.admit('pump-1', 'third')).toBe(false);
  now += 3 * DAY;
  await fifth.prune({ age: DAY, bytes: 0 });
  expect(fifth.streams.admit('pump-1', 'third')).toBe(true);
});
