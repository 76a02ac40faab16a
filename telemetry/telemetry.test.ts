/** The embedded journal: the behaviour of every journal, and what only a file can do wrong. */

import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { deviceNamed, type FreshTelemetry, message, telemetryBehaviour } from '../test/behaviour/telemetry.ts';
import { writeUntilKilled } from '../test/testkit/killed-writer.ts';
import { temporaryDirectory } from '../test/testkit/temporary.ts';
import { openTelemetry } from './open.ts';

const log = pino({ level: 'silent' });
const PUMP = deviceNamed('pump-1');

telemetryBehaviour('SQLite', () => openIn(temporaryDirectory()));

async function openIn(directory: string): Promise<FreshTelemetry> {
  const open = async () => {
    const opened = await openTelemetry({ directory, now: Date.now, log });
    onTestFinished(() => opened.close());
    return opened;
  };
  const telemetry = await open();
  return {
    telemetry,
    reopen: async () => {
      await telemetry.close();
      return open();
    },
  };
}

/** A journal and a second connection to its file, with which a test can look or interfere. */
async function journalAndFile() {
  const directory = temporaryDirectory();
  const { telemetry } = await openIn(directory);
  const file = join(directory, 'journal.db');
  const outside = new Database(file);
  onTestFinished(() => {
    outside.close();
  });
  const count = () => outside.prepare('SELECT count(*) FROM messages').pluck().get();
  return { telemetry, file, outside, count };
}

/** Commits in a write-ahead log: frames whose header names the size of the database (SQLite file format, section 4.1). */
function commitsIn(wal: Buffer): number {
  if (wal.length === 0) return 0;
  const frame = 24 + wal.readUInt32BE(8);
  let commits = 0;
  for (let at = 32; at + frame <= wal.length; at += frame) if (wal.readUInt32BE(at + 4) !== 0) commits += 1;
  return commits;
}

describe('acceptance', () => {
  it('is told only when another reader of the file can see the message', async () => {
    const { telemetry, count } = await journalAndFile();
    const accepting = telemetry.accept(message('pump-1', 'a'));
    expect(count()).toBe(0);
    await accepting;
    expect(count()).toBe(1);
  });

  it('of many messages at once costs one commit, and nobody is told before it', async () => {
    const { telemetry, file, count } = await journalAndFile();
    const before = commitsIn(readFileSync(`${file}-wal`));
    const seen = Array.from({ length: 300 }, async (_, i) => {
      await telemetry.accept(message('pump-1', `${i}`));
      return count();
    });
    expect(new Set(await Promise.all(seen))).toEqual(new Set([300]));
    expect(commitsIn(readFileSync(`${file}-wal`)) - before).toBe(1);
  });

  it('does not wait for others once a batch is full, in number or in bytes', async () => {
    const { telemetry, count } = await journalAndFile();
    for (let i = 0; i < 512; i += 1) void telemetry.accept(message('pump-1', 'x'));
    expect(count()).toBe(512);
    for (let i = 0; i < 4; i += 1) void telemetry.accept(message('pump-1', Buffer.alloc(262_144)));
    expect(count()).toBe(516);
  });

  it('fails for the whole batch when it cannot be written, stores none of it, and recovers by itself', async () => {
    const { telemetry, outside, count } = await journalAndFile();
    const heard: unknown[] = [];
    telemetry.follow(undefined, (stored) => heard.push(stored.position));
    await telemetry.accept(message('pump-1', 'a'));
    outside.exec(`CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN NEW.payload = CAST('c' AS BLOB)
      BEGIN SELECT RAISE(ABORT, 'refused by the test'); END`);
    const batch = ['b', 'c', 'd'].map((text) => telemetry.accept(message('pump-1', text)));
    for (const outcome of await Promise.allSettled(batch)) expect(outcome).toMatchObject({ status: 'rejected' });
    expect(count()).toBe(1);
    outside.exec('DROP TRIGGER refuse');
    await telemetry.accept(message('pump-1', 'e'));
    const found = await telemetry.query({ device: PUMP, limit: 9 });
    expect(found.map(({ position, payload }) => `${position}${payload}`)).toEqual(['1a', '2e']);
    expect(heard).toEqual([1, 2]);
  });

  it('fails with unavailable while another process keeps the file', async () => {
    const { telemetry, outside, count } = await journalAndFile();
    outside.exec('BEGIN IMMEDIATE');
    await expect(telemetry.accept(message('pump-1', 'a'))).rejects.toMatchObject({ code: 'unavailable' });
    outside.exec('ROLLBACK');
    expect(count()).toBe(0);
    await telemetry.accept(message('pump-1', 'b'));
  });

  it('closes its runs whole: one that failed is closed by the next batch', async () => {
    const { telemetry, outside } = await journalAndFile();
    outside.exec(`CREATE TRIGGER refuse BEFORE INSERT ON newest BEGIN SELECT RAISE(ABORT, 'refused by the test'); END`);
    const texts = Array.from({ length: 2300 }, (_, i) => `${i}`);
    const outcomes = await Promise.allSettled(texts.map((text) => telemetry.accept(message('pump-1', text))));
    const stored = texts.filter((_, i) => outcomes[i]?.status === 'fulfilled');
    expect(stored.length).toBeLessThan(2048);
    expect(outside.prepare('SELECT count(*) FROM runs').pluck().get()).toBe(0);
    outside.exec('DROP TRIGGER refuse');
    const more = Array.from({ length: 2048 }, (_, i) => `more ${i}`);
    await Promise.all(more.map((text) => telemetry.accept(message('pump-1', text))));
    expect(outside.prepare('SELECT count(*) FROM runs').pluck().get()).toBeGreaterThan(0);
    const found = await telemetry.query({ device: PUMP, limit: 10_000 });
    expect(found.map(({ payload }) => `${payload}`)).toEqual([...stored, ...more]);
  });
});

describe('the file of a journal', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('is for its owner only, in a directory that is made for it', async () => {
    const directory = join(temporaryDirectory(), 'telemetry');
    const fresh = await openIn(directory);
    const modes = () => readdirSync(directory).map((name) => `${name} ${modeOf(join(directory, name))}`);
    const kept = ['journal.db 600', 'journal.db-shm 600', 'journal.db-wal 600'];
    expect(modeOf(directory)).toBe('700');
    expect(modes()).toEqual(kept);
    await fresh.telemetry.close();
    chmodSync(join(directory, 'journal.db'), 0o644);
    await openIn(directory);
    expect(modes()).toEqual(kept);
  });

  it('is written with full synchronization, at the first opening and at every later one', async () => {
    const pragma = vi.spyOn(Database.prototype, 'pragma');
    const fresh = await openIn(temporaryDirectory());
    for (const reopened of [false, true]) {
      if (reopened) {
        pragma.mockClear();
        await fresh.reopen();
      }
      const found = (name: string) => pragma.mock.results[pragma.mock.calls.findLastIndex(([sql]) => sql === name)];
      expect(found('synchronous')).toMatchObject({ value: 2 });
      expect(found('journal_mode')).toMatchObject({ value: 'wal' });
    }
  });

  it('is not opened when full synchronization cannot be had', async () => {
    const genuine = Database.prototype.pragma;
    vi.spyOn(Database.prototype, 'pragma').mockImplementation(function (this: Database.Database, sql, options) {
      return genuine.call(this, sql === 'synchronous = FULL' ? 'synchronous = NORMAL' : sql, options);
    });
    await expect(openIn(temporaryDirectory())).rejects.toMatchObject({ code: 'data_directory_unusable' });
  });

  it('is refused with a reason when it is no database, was emptied, or belongs to another program', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'journal.db');
    const refused = { code: 'database_damaged' };
    writeFileSync(file, Buffer.alloc(8192, 'not a database '));
    await expect(openIn(directory)).rejects.toMatchObject(refused);
    writeFileSync(file, '');
    await expect(openIn(directory)).rejects.toMatchObject(refused);
    expect(statSync(file).size).toBe(0);
    const foreign = new Database(file);
    foreign.exec('CREATE TABLE messages (text TEXT); PRAGMA user_version = 7');
    foreign.close();
    await expect(openIn(directory)).rejects.toMatchObject(refused);
  });

  it('is refused when a newer version wrote it', async () => {
    const directory = temporaryDirectory();
    const { telemetry } = await openIn(directory);
    await telemetry.close();
    const outside = new Database(join(directory, 'journal.db'));
    outside.pragma('user_version = 1000');
    outside.close();
    await expect(openIn(directory)).rejects.toMatchObject({ code: 'database_newer' });
  });

  it('cannot be used when its directory is a file, or it is a directory', async () => {
    const directory = temporaryDirectory();
    const unusable = { code: 'data_directory_unusable' };
    writeFileSync(join(directory, 'a-file'), '');
    await expect(openIn(join(directory, 'a-file'))).rejects.toMatchObject(unusable);
    await expect(openIn(join(directory, 'a-file', 'below'))).rejects.toMatchObject(unusable);
    await openIn(join(directory, 'journal.db'));
    await expect(openIn(directory)).rejects.toMatchObject(unusable);
  });

  it('is made anew when its making was interrupted', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'journal.db.new'), 'half');
    await openIn(directory);
    expect(existsSync(join(directory, 'journal.db.new'))).toBe(false);
  });
});

describe('kill -9', () => {
  it('loses nothing that was reported as stored, and leaves a file that opens', async () => {
    const directory = temporaryDirectory();
    const reported: string[] = [];
    for (let kill = 1; kill <= 5; kill += 1) {
      reported.push(...(await writeUntilKilled('telemetry-writer.ts', [directory, `run ${kill}`], 500 + 333 * kill)));
    }
    const { telemetry } = await openIn(directory);
    const stored = new Set<string>();
    for (let i = 0; i < 40; i += 1) {
      const found = await telemetry.query({ device: deviceNamed(`pump-${i}`), limit: 10_000 });
      for (const { payload } of found) stored.add(`${payload}`);
    }
    expect(reported.filter((text) => !stored.has(text))).toEqual([]);
    expect(reported.length).toBeGreaterThan(7000);
    await telemetry.accept(message('pump-1', 'afterwards'));
  });
});

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}
