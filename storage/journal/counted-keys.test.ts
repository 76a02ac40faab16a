/** Keys that count, in a segment of its own: known once they are committed, whatever happens to the process, and never before. */

import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deviceNamed } from '../../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { packBatch } from './batch.ts';
import { CountedKeys, countedKey } from './counted-keys.ts';
import { PreviousSegmentKeys } from './previous-segment-keys.ts';
import { Segment } from './segment.ts';
import { createSegmentFile } from './segment-file.ts';
import { ReceivedNames, SentNames } from './source-names.ts';

const START = Date.UTC(2030, 0, 1);

function openFile(file: string) {
  const sent = new SentNames();
  const received = new ReceivedNames();
  const segment = new Segment(file, () => false);
  onTestFinished(() => segment.close());
  /** Which of the keys were known. Every other message is a device's that sends none. */
  const append = (device: string, keys: readonly string[]): string[] => {
    const messages = keys.flatMap((key) => {
      const message = { stream: 's', receivedAt: START, qos: 1, payload: Buffer.from(key) } as const;
      return [
        { ...message, device: deviceNamed(device), key },
        { ...message, device: deviceNamed('keyless') },
      ];
    });
    const batch = packBatch(messages, sent);
    received.add(batch.names);
    const [appended] = segment.append([{ batch, names: received }]);
    return (appended?.repeated ?? []).map((index) => keys[index / 2] as string);
  };
  return { segment, append };
}

function freshFile(): string {
  const file = join(temporaryDirectory(), 'segment.db');
  createSegmentFile(file, { firstPosition: 1001 });
  return file;
}

const counting = (from: number, to: number, epoch = 'e') =>
  Array.from({ length: to - from }, (_, i) => `${from + i}.${epoch}`);

function rowsOf(file: string): number {
  const database = new Database(file, { readonly: true });
  try {
    return database.prepare('SELECT count(*) FROM counted_keys').pluck().get() as number;
  } finally {
    database.close();
  }
}

describe('a key that counts', () => {
  it.each(['0.a', '7.e', '1042.x_-9', '999999999999999.a.b'])('is %s', (key) => {
    const counted = countedKey(key);
    expect(`${counted?.number}.${counted?.epoch}`).toBe(key);
  });

  it.each(['', '7', '7.', '.e', '07.e', '-1.e', '1e3.e', 'a.7', '9999999999999999.e', '٣.e'])('is not %j', (key) => {
    expect(countedKey(key)).toBeUndefined();
  });

  it('is known from its first message on, to its own device, in its own epoch', () => {
    const { append } = openFile(freshFile());
    expect(append('pump-1', ['5.e', '7.e', '5.e', '600.e'])).toEqual(['5.e']);
    expect(append('pump-1', ['4.e', '7.e', '5.f', '600.e', '600.f', '88.e'])).toEqual(['7.e', '600.e']);
    expect(append('pump-2', ['5.e'])).toEqual([]);
  });

  it('is known when the segment is opened again, from blocks and from what was written, and when it is closed', () => {
    const file = freshFile();
    const first = openFile(file);
    // Twice as many messages as are written at once, and some more that lie in blocks alone.
    const all = counting(0, 20_000);
    for (let i = 0; i < all.length; i += 500) first.append('pump-1', all.slice(i, i + 500));
    first.segment.close();

    const second = openFile(file);
    expect(second.append('pump-1', all)).toEqual(all);
    expect(second.append('pump-1', counting(20_000, 20_600))).toEqual([]);
    second.segment.complete();
    second.segment.close();

    const third = openFile(file);
    expect(third.append('pump-1', ['0.e', '20599.e', '20600.e'])).toEqual(['0.e', '20599.e']);
    third.segment.close();

    const older = new PreviousSegmentKeys();
    onTestFinished(() => older.close());
    older.open({ number: 1, day: '2030-01-01', edition: 0, file });
    const asked = ['0.e', '20600.e', '20601.e', '0.f', 'never'];
    expect(asked.filter((key) => older.has('pump-1', key))).toEqual(['0.e', '20600.e']);
    expect(older.has('pump-2', '0.e')).toBe(false);
  });

  it('is not known when the batch that brought it was rolled back, and what was known before still is', () => {
    const { segment, append } = openFile(freshFile());
    append('pump-1', ['1.e']);
    const names = new ReceivedNames();
    const batch = packBatch(
      ['2.e', '3.e'].map((key) => ({
        ...{ device: deviceNamed('pump-1'), stream: 's', receivedAt: START, qos: 1 as const },
        ...{ payload: Buffer.from(key), key },
      })),
      new SentNames(),
    );
    names.add(batch.names);
    // Data that ends too early: the last message can't be written.
    const torn = { ...batch, data: null as unknown as Uint8Array<ArrayBuffer> };
    expect(() => segment.append([{ batch: torn, names }])).toThrow();
    expect(segment.append([{ batch, names }])).toEqual([{ first: 1003, repeated: [] }]);
    expect(append('pump-1', ['1.e', '2.e', '4.e'])).toEqual(['1.e', '2.e']);
  });

  it('is found in bounded memory, however many epochs a device uses', () => {
    const file = freshFile();
    const { segment, append } = openFile(file);
    append('pump-1', ['1.e']);
    segment.complete();
    const database = new Database(file, { readonly: true });
    onTestFinished(() => {
      database.close();
    });
    const keys = new CountedKeys(database);
    for (let i = 0; i < 70_000; i += 1) keys.has(1, { epoch: `x${i}`, number: 0 });
    expect(keys.held).toBeLessThan(5_000);
    expect(keys.has(1, { epoch: 'e', number: 1 })).toBe(true);
  });

  it('uses bounded memory also when only known keys are sent', () => {
    const database = new Database(freshFile());
    onTestFinished(() => {
      database.close();
    });
    const keys = new CountedKeys(database);
    const epochs = Array.from({ length: 70_000 }, (_, i) => `x${i}`);
    for (const epoch of epochs) keys.add(1, { epoch, number: 0 });
    database.transaction(() => keys.write(1))();
    keys.committed();
    let known = 0;
    for (const epoch of epochs) {
      if (!keys.add(1, { epoch, number: 0 })) known += 1;
      if (known % 1_000 === 0) keys.committed();
    }
    expect(known).toBe(epochs.length);
    expect(keys.held).toBeLessThan(5_000);
  });

  it('costs a row for hundreds, also where numbers are left out', () => {
    const file = freshFile();
    const { segment, append } = openFile(file);
    const sparse = counting(0, 6000).filter((_, i) => i % 3 === 0);
    append('pump-1', sparse);
    segment.complete();
    expect(rowsOf(file)).toBe(Math.ceil(6000 / 512));
  });
});
