/** One file of a journal: how it is opened, and what is not taken for one. */

import { existsSync, mkdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { createSegmentFile, openSegmentFile } from './segment-file.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

function freshFile(): string {
  const file = join(temporaryDirectory(), 'segment.db');
  createSegmentFile(file, { firstPosition: 1 });
  return file;
}

describe('a segment', () => {
  it('is written with full synchronization, at the first opening and at every later one', () => {
    const file = freshFile();
    const pragma = vi.spyOn(Database.prototype, 'pragma');
    for (let opening = 1; opening <= 3; opening += 1) {
      pragma.mockClear();
      openSegmentFile(file).close();
      const found = (name: string) => pragma.mock.results[pragma.mock.calls.findLastIndex(([sql]) => sql === name)];
      expect(found('synchronous')).toMatchObject({ value: 2 });
      expect(found('journal_mode')).toMatchObject({ value: 'wal' });
    }
  });

  it('is not opened when full synchronization cannot be set', () => {
    const file = freshFile();
    const genuine = Database.prototype.pragma;
    vi.spyOn(Database.prototype, 'pragma').mockImplementation(function (this: Database.Database, sql, options) {
      return genuine.call(this, sql === 'synchronous = FULL' ? 'synchronous = NORMAL' : sql, options);
    });
    expect(() => openSegmentFile(file)).toThrow(expect.objectContaining({ code: 'data_directory_unusable' }));
  });

  it('is refused with a reason when it is no database, was emptied or cut, or belongs to another program', () => {
    const file = freshFile();
    const refused = expect.objectContaining({ code: 'database_damaged' });
    truncateSync(file, 16_384);
    expect(() => openSegmentFile(file)).toThrow(refused);
    writeFileSync(file, Buffer.alloc(16_384, 'not a database '));
    expect(() => openSegmentFile(file)).toThrow(refused);
    writeFileSync(file, '');
    expect(() => openSegmentFile(file)).toThrow(refused);
    expect(statSync(file).size).toBe(0);
    const foreign = new Database(file);
    foreign.exec('CREATE TABLE messages (text TEXT); PRAGMA user_version = 7');
    foreign.close();
    expect(() => openSegmentFile(file)).toThrow(refused);
  });

  it('is refused when a newer version wrote it', () => {
    const file = freshFile();
    const outside = new Database(file);
    outside.pragma('user_version = 1000');
    outside.close();
    expect(() => openSegmentFile(file)).toThrow(expect.objectContaining({ code: 'database_newer' }));
  });

  it('cannot be a directory', () => {
    const file = join(temporaryDirectory(), 'segment.db');
    mkdirSync(file);
    expect(() => openSegmentFile(file)).toThrow(expect.objectContaining({ code: 'data_directory_unusable' }));
  });

  it('is created again when its creation was interrupted', () => {
    const file = join(temporaryDirectory(), 'segment.db');
    writeFileSync(`${file}.new`, 'half');
    createSegmentFile(file, { firstPosition: 1 });
    expect(existsSync(`${file}.new`)).toBe(false);
    openSegmentFile(file).close();
  });
});
