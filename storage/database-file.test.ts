/** SQLite files: how they are created and opened, and which are refused. */

import fs, { existsSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { createDatabaseFile, type FileKind, type OpenDatabaseOptions, openDatabaseFile } from './database-file.ts';
import { storageProblem } from './storage-problem.ts';

const NOTES: FileKind = {
  name: 'a file of notes',
  applicationId: 0x6e6f7465,
  schema: 3,
  busyTimeoutMs: 0,
  remedy: 'write them again',
};

const create = (database: Database.Database) => {
  database.exec('CREATE TABLE notes (text TEXT) STRICT; PRAGMA user_version = 3');
};
const freshPath = () => join(temporaryDirectory(), 'notes.db');
const open = (file: string, more: Partial<OpenDatabaseOptions> = {}) =>
  openDatabaseFile({ file, kind: NOTES, check: 'every page', create, ...more });
const damaged = expect.objectContaining({ code: 'database_damaged', hint: NOTES.remedy });

/** What the program itself syncs and renames from now on, with the names of the files. */
function stepsOnDisk(): readonly string[] {
  const steps: string[] = [];
  const { fsyncSync, renameSync } = fs;
  vi.spyOn(fs, 'fsyncSync').mockImplementation((descriptor) => {
    steps.push(`sync ${basename(fs.readlinkSync(`/proc/self/fd/${descriptor}`))}`);
    fsyncSync(descriptor);
  });
  vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
    steps.push(`rename ${basename(String(from))}`);
    renameSync(from, to);
  });
  syncBuiltinESMExports();
  onTestFinished(() => {
    vi.restoreAllMocks();
    syncBuiltinESMExports();
  });
  return steps;
}

describe('a database file', () => {
  it('is created for its owner only, and syncs every commit, also when it is opened again', () => {
    const file = freshPath();
    for (let opening = 0; opening < 2; opening += 1) {
      const database = open(file);
      expect(database.pragma('journal_mode', { simple: true })).toBe('wal');
      expect(database.pragma('synchronous', { simple: true })).toBe(2);
      database.exec("INSERT INTO notes VALUES ('kept')");
      expect(readdirSync(dirname(file)).map((name) => statSync(join(dirname(file), name)).mode & 0o777)).toEqual([
        0o600, 0o600, 0o600,
      ]);
      database.close();
    }
    const database = open(file);
    expect(database.prepare('SELECT count(*) FROM notes').pluck().get()).toBe(2);
    database.close();
  });

  it('is complete and synced before it gets its name, and its name is synced as well', () => {
    const file = freshPath();
    const steps = stepsOnDisk();
    createDatabaseFile(file, NOTES, create);
    expect(steps.slice(-3)).toEqual(['sync notes.db.new', 'rename notes.db.new', `sync ${basename(dirname(file))}`]);
    const database = new Database(file, { readonly: true });
    expect(database.pragma('user_version', { simple: true })).toBe(NOTES.schema);
    database.close();
  });

  it('does not exist when its creation fails', () => {
    const file = freshPath();
    const fails = () => {
      throw new Error('no room');
    };
    expect(() => createDatabaseFile(file, NOTES, fails)).toThrow('no room');
    expect(readdirSync(dirname(file))).toEqual([]);
  });

  it('is not created where only an existing one may be opened', () => {
    const file = freshPath();
    const { create: _, ...opening } = { file, kind: NOTES, check: 'header' as const, create };
    expect(() => openDatabaseFile(opening)).toThrow(expect.objectContaining({ code: 'data_directory_unusable' }));
    expect(existsSync(file)).toBe(false);
  });

  it('is refused when it is empty, truncated, not SQLite, or of another kind', () => {
    const file = freshPath();
    open(file).close();
    truncateSync(file, 4096);
    expect(() => open(file, { check: 'header' })).toThrow(damaged);
    writeFileSync(file, Buffer.alloc(8192, 'a letter '));
    expect(() => open(file)).toThrow(damaged);
    writeFileSync(file, '');
    expect(() => open(file)).toThrow(damaged);
    const other = freshPath();
    open(other, { kind: { ...NOTES, applicationId: 1 } }).close();
    expect(() => open(other)).toThrow(damaged);
  });

  it('is refused when a newer version wrote it', () => {
    const file = freshPath();
    open(file, { kind: { ...NOTES, schema: 4 } }).close();
    expect(() => open(file, { kind: { ...NOTES, schema: 2 } })).toThrow(
      expect.objectContaining({ code: 'database_newer' }),
    );
  });
});

describe('an error of storage', () => {
  it('is unavailable when the file is full or locked by another process, and internal otherwise', () => {
    const file = freshPath();
    const database = open(file);
    const outside = new Database(file);
    const refused = (sql: string): unknown => {
      try {
        database.exec(sql);
        return undefined;
      } catch (error) {
        return storageProblem(error);
      }
    };
    outside.exec('BEGIN IMMEDIATE');
    expect(refused("INSERT INTO notes VALUES ('late')")).toMatchObject({ code: 'unavailable' });
    outside.close();
    database.pragma('max_page_count = 1');
    expect(refused('INSERT INTO notes VALUES (hex(zeroblob(100000)))')).toMatchObject({ code: 'unavailable' });
    expect(refused('INSERT INTO nowhere VALUES (1)')).toMatchObject({ code: 'internal' });
    database.close();
  });

  it('of another kind is returned unchanged', () => {
    const error = new RangeError('something else');
    expect(storageProblem(error)).toBe(error);
  });
});
