/** The journal's segments: when one begins, and what becomes of one that is damaged. */

import { closeSync, openSync, readdirSync, statSync, truncateSync, writeSync } from 'node:fs';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { message } from '../../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { packBatch } from './batch.ts';
import { Journal, type JournalOptions } from './journal.ts';
import { JournalReader } from './journal-reader.ts';
import type { Appended } from './segment.ts';
import { listSegments } from './segment-names.ts';
import { ReceivedNames, SentNames } from './source-names.ts';

const DAY = 86_400_000;
const NOON = Date.UTC(2030, 0, 1, 12);
const ALL = { devices: undefined, stream: undefined, since: 0, until: Number.MAX_SAFE_INTEGER };

function open(directory: string, options: Partial<JournalOptions> = {}) {
  const journal = new Journal({ directory, ...options });
  const reader = new JournalReader(directory);
  onTestFinished(() => {
    journal.close();
    reader.close();
  });
  const sent = new SentNames();
  const names = new ReceivedNames();
  const append = (text: string, receivedAt = NOON, count = 1) => {
    const batch = packBatch(
      Array.from({ length: count }, (_, i) => message('pump-1', `${text}${i}`, { receivedAt })),
      sent,
    );
    names.add(batch.names);
    return journal.append([{ batch, names }])[0] as Appended;
  };
  const days = () => listSegments(directory).map(({ day }) => day);
  const stored = () => reader.page(ALL, 0, 1_000_000, 1e9).map((row) => `${row.payload}`);
  return { journal, reader, append, days, stored };
}

describe('segments', () => {
  it('begin with the day of what is received, and hold the positions that follow', () => {
    const directory = temporaryDirectory();
    const { append, days, journal } = open(directory);
    expect(append('a', NOON, 3).first).toBe(1);
    expect(append('b', NOON + DAY).first).toBe(4);
    journal.close();
    const again = open(directory);
    expect(again.append('c', NOON + DAY).first).toBe(5);
    expect(days()).toEqual(['2030-01-01', '2030-01-02']);
    expect(again.stored()).toEqual(['a0', 'a1', 'a2', 'b0', 'c0']);
  });

  it('continue when the clock steps back within a day, and a new one begins when it was days ahead', () => {
    const { append, days } = open(temporaryDirectory());
    append('a', Date.UTC(2030, 0, 2, 0, 10));
    append('b', Date.UTC(2030, 0, 1, 23, 10));
    expect(days()).toEqual(['2030-01-02']);
    append('c', Date.UTC(2035, 5, 5));
    append('d', Date.UTC(2030, 0, 2));
    append('e', Date.UTC(2030, 0, 3));
    expect(days()).toEqual(['2030-01-02', '2035-06-05', '2030-01-02', '2030-01-03']);
  });

  it('are removed when their day ended longer ago than retention allows, except the one being written', () => {
    const { append, days, journal, stored } = open(temporaryDirectory());
    for (const day of [0, 1, 2, 3]) append(`${day}`, NOON + day * DAY);
    const midnight = Date.UTC(2030, 0, 3);
    expect(journal.prune({ age: DAY, bytes: 0, groups: [] }, midnight).removed).toEqual([]);
    expect(journal.prune({ age: DAY, bytes: 0, groups: [] }, midnight + 1).removed).toMatchObject([
      { firstPosition: 1, messages: 1 },
    ]);
    expect(days()).toEqual(['2030-01-02', '2030-01-03', '2030-01-04']);
    journal.prune({ age: DAY, bytes: 0, groups: [] }, midnight + 6 * DAY);
    expect(stored()).toEqual(['30']);
    expect(append('4', NOON + 4 * DAY).first).toBe(5);
  });

  it('are followed by another of the same day when they have grown too large', () => {
    const { append, days, stored } = open(temporaryDirectory(), { segmentBytes: 300_000 });
    const batches = Array.from({ length: 200 }, (_, i) => `${i}`.padEnd(2000));
    for (const text of batches) append(text);
    expect(days().length).toBeGreaterThan(1);
    expect(new Set(days())).toEqual(new Set(['2030-01-01']));
    expect(stored()).toEqual(batches.map((text) => `${text}0`));
  });

  it('that are truncated are set aside and reported, and their positions are not used again', () => {
    const directory = temporaryDirectory();
    const before = open(directory);
    before.append('a', NOON, 100);
    before.append('b', NOON + DAY, 5000);
    before.journal.close();
    before.reader.close();
    const cut = listSegments(directory)[1]?.file as string;
    truncateSync(cut, Math.floor(statSync(cut).size / 16_384) * 8192);
    const after = open(directory);
    expect(after.journal.takeSetAside()).toEqual([`${cut}.damaged`]);
    expect(readdirSync(directory)).toContain('00000002-2030-01-02.db.damaged');
    expect(after.append('c', NOON + DAY).first).toBeGreaterThan(5100);
    expect(after.stored()).toEqual([...Array.from({ length: 100 }, (_, i) => `a${i}`), 'c0']);
  });

  it('with a damaged last page are set aside when the journal is opened', () => {
    const directory = temporaryDirectory();
    const file = segmentOf(directory, 3000);
    overwritePage(file, statSync(file).size / 8192);
    const after = open(directory);
    expect(after.journal.takeSetAside()).toEqual([`${file}.damaged`]);
    expect(after.append('b', NOON, 10).first).toBeGreaterThan(3000);
    expect(after.stored()).toEqual(Array.from({ length: 10 }, (_, i) => `b${i}`));
  });

  it('too large to be checked at the start are set aside when a damaged page is read, and the batch is stored', () => {
    const directory = temporaryDirectory();
    const file = segmentOf(directory, 3000);
    const outside = new Database(file, { readonly: true });
    const find = outside.prepare(`SELECT rootpage FROM sqlite_schema WHERE name LIKE 'sqlite_autoindex_devices%'`);
    const root = find.pluck().get() as number;
    outside.close();
    overwritePage(file, root);
    const after = open(directory, { mostChecked: 0 });
    expect(after.journal.takeSetAside()).toEqual([]);
    expect(after.append('b', NOON, 10).first).toBe(3001);
    expect(after.journal.takeSetAside()).toEqual([`${file}.damaged`]);
    expect(after.append('c').first).toBe(3011);
    expect(after.stored()).toEqual([...Array.from({ length: 10 }, (_, i) => `b${i}`), 'c0']);
  });

  it('are written and followed by others during a long read', () => {
    const directory = temporaryDirectory();
    const { append, days, stored, journal } = open(directory);
    append('a', NOON, 3000);
    const outside = new Database(listSegments(directory)[0]?.file as string, { readonly: true });
    onTestFinished(() => {
      outside.close();
    });
    outside.exec('BEGIN');
    const seen = () => outside.prepare('SELECT count(*) FROM blocks').pluck().get();
    const before = seen();
    append('b', NOON, 3000);
    append('c', NOON + DAY);
    expect(seen()).toBe(before);
    expect(days()).toEqual(['2030-01-01', '2030-01-02']);
    journal.close();
    const again = open(directory);
    expect(again.append('d', NOON + DAY).first).toBe(6002);
    expect(stored().length).toBe(6002);
    outside.exec('COMMIT');
    expect(seen()).toBeGreaterThan(before as number);
  });

  it('that are damaged after they are closed do not prevent the next day', () => {
    const directory = temporaryDirectory();
    const { append, days } = open(directory);
    append('a', NOON);
    append('b', NOON + DAY);
    overwritePage(listSegments(directory)[0]?.file as string, 1);
    expect(append('c', NOON + 2 * DAY).first).toBe(3);
    overwritePage(listSegments(directory)[1]?.file as string, 1);
    expect(append('d', NOON + 3 * DAY).first).toBe(4);
    expect(days()).toHaveLength(4);
  });
});

/** A closed journal of so many messages; returns the file of its only segment. */
function segmentOf(directory: string, messages: number): string {
  const { append, journal, reader } = open(directory);
  append('a', NOON, messages);
  journal.close();
  reader.close();
  return listSegments(directory)[0]?.file as string;
}

/** Pages count from 1. */
function overwritePage(file: string, page: number): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.alloc(8192, 0xee), 0, 8192, (page - 1) * 8192);
  closeSync(descriptor);
}
