/** The embedded journal: the behaviour of every journal, and what threads and files can do wrong. */

import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { listSegments } from '../storage/index.ts';
import { telemetryBehaviour } from '../test/behaviour/telemetry.ts';
import { deviceNamed, type FreshTelemetry, message } from '../test/behaviour/telemetry-messages.ts';
import { writeUntilKilled } from '../test/fixtures/killed-writer.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import type { IntakeLimits } from './intake.ts';
import { openTelemetry } from './open.ts';

const log = pino({ level: 'silent' });
const PUMP = deviceNamed('pump-1');

telemetryBehaviour('SQLite', () => openIn(temporaryDirectory()));

async function openIn(directory: string, limits: Partial<IntakeLimits> = {}): Promise<FreshTelemetry> {
  const open = async () => {
    const opened = await openTelemetry({ directory, now: Date.now, log, limits });
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

/** A journal with one message, and a second connection to its file, with which a test can look or interfere. */
async function journalAndFile(limits: Partial<IntakeLimits> = {}) {
  const directory = temporaryDirectory();
  const { telemetry } = await openIn(directory, limits);
  await telemetry.accept(message('pump-1', 'first'));
  const file = listSegments(directory)[0]?.file as string;
  const outside = new Database(file);
  onTestFinished(() => {
    outside.close();
  });
  const count = () => outside.prepare('SELECT sum(length(meta)) / 16 FROM blocks').pluck().get();
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
  it('is reported only when another reader of the file can see the message', async () => {
    const { telemetry, count } = await journalAndFile();
    const accepting = telemetry.accept(message('pump-1', 'a'));
    expect(count()).toBe(1);
    await accepting;
    expect(count()).toBe(2);
  });

  it('of many messages at once costs one commit, and none is reported before it', async () => {
    const { telemetry, file, count } = await journalAndFile();
    const before = commitsIn(readFileSync(`${file}-wal`));
    const seen = Array.from({ length: 300 }, async (_, i) => {
      await telemetry.accept(message('pump-1', `${i}`));
      return count();
    });
    expect(new Set(await Promise.all(seen))).toEqual(new Set([301]));
    expect(commitsIn(readFileSync(`${file}-wal`)) - before).toBe(1);
  });

  it('fails for the whole batch when it cannot be written, stores none of it, and recovers by itself', async () => {
    const { telemetry, outside, count } = await journalAndFile();
    const heard: unknown[] = [];
    telemetry.follow(undefined, (stored) => heard.push(stored.position));
    outside.exec(`CREATE TRIGGER refuse BEFORE INSERT ON blocks WHEN NEW.data = CAST('bcd' AS BLOB)
      BEGIN SELECT RAISE(ABORT, 'refused by the test'); END`);
    // From a device that nobody knows yet: its number must not outlive the failure.
    const batch = ['b', 'c', 'd'].map((text) => telemetry.accept(message('pump-2', text)));
    for (const outcome of await Promise.allSettled(batch)) expect(outcome).toMatchObject({ status: 'rejected' });
    expect(count()).toBe(1);
    outside.exec('DROP TRIGGER refuse');
    await telemetry.accept(message('pump-3', 'other'));
    await telemetry.accept(message('pump-2', 'e'));
    const found = await telemetry.query({ device: deviceNamed('pump-2'), limit: 9 });
    expect(found.map(({ position, payload }) => `${position}${payload}`)).toEqual(['3e']);
    expect(heard).toEqual([2, 3]);
    expect(telemetry.counters()).toMatchObject({ stored: 3, refused: 3, queuedBytes: 0 });
  });

  it('waits while another process locks the file, reports pressure, and continues', async () => {
    const { telemetry, outside, count } = await journalAndFile({ retryEvery: 10 });
    const held = Promise.withResolvers<void>();
    const pressure: boolean[] = [];
    telemetry.onPressure((isUnderPressure) => {
      pressure.push(isUnderPressure);
      held.resolve();
    });
    outside.exec('BEGIN IMMEDIATE');
    const waiting = ['a', 'b'].map((text) => telemetry.accept(message('pump-1', text)));
    await held.promise;
    const later = telemetry.accept(message('pump-1', 'c'));
    expect(telemetry.counters()).toMatchObject({ stored: 1, isUnderPressure: true });
    expect(count()).toBe(1);
    outside.exec('ROLLBACK');
    await Promise.all([...waiting, later]);
    const found = await telemetry.query({ device: PUMP, limit: 9 });
    expect(found.map(({ position, payload }) => `${position}${payload}`)).toEqual(['1first', '2a', '3b', '4c']);
    expect(pressure).toEqual([true, false]);
  });

  it('is refused with unavailable when another process locks the file for too long', async () => {
    const { telemetry, outside, count } = await journalAndFile({ patience: 0 });
    outside.exec('BEGIN IMMEDIATE');
    await expect(telemetry.accept(message('pump-1', 'a'))).rejects.toMatchObject({ code: 'unavailable' });
    outside.exec('ROLLBACK');
    expect(count()).toBe(1);
    await telemetry.accept(message('pump-1', 'b'));
    expect(telemetry.counters().isUnderPressure).toBe(false);
  });

  it('closes its runs whole: one that failed is closed by a later batch', async () => {
    const { telemetry, outside } = await journalAndFile();
    outside.exec(
      `CREATE TRIGGER refuse BEFORE INSERT ON run_rows BEGIN SELECT RAISE(ABORT, 'refused by the test'); END`,
    );
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
    expect(found.map(({ payload }) => `${payload}`)).toEqual(['first', ...stored, ...more]);
  });
});

describe('the files of a journal', () => {
  it('are for their owner only, in a directory that is made for them', async () => {
    const directory = join(temporaryDirectory(), 'telemetry');
    const { telemetry } = await openIn(directory);
    await telemetry.accept(message('pump-1', 'a'));
    const modes = () => readdirSync(directory).map((name) => `${name} ${modeOf(join(directory, name))}`);
    const name = '00000001-2030-01-01.db';
    const kept = [`${name} 600`, `${name}-shm 600`, `${name}-wal 600`];
    expect(modeOf(directory)).toBe('700');
    expect(modes()).toEqual(kept);
    await telemetry.close();
    chmodSync(join(directory, name), 0o644);
    await openIn(directory);
    expect(modes()).toEqual(kept);
  });

  it('cannot be made when their directory is a file', async () => {
    const directory = temporaryDirectory();
    const unusable = { code: 'data_directory_unusable' };
    writeFileSync(join(directory, 'a-file'), '');
    await expect(openIn(join(directory, 'a-file'))).rejects.toMatchObject(unusable);
    await expect(openIn(join(directory, 'a-file', 'below'))).rejects.toMatchObject(unusable);
  });
});

describe('kill -9', () => {
  it('loses no message and no user property that was reported as stored, and leaves files that open', async () => {
    const directory = temporaryDirectory();
    const reported: string[] = [];
    for (let kill = 1; kill <= 5; kill += 1) {
      reported.push(...(await writeUntilKilled('telemetry-writer.ts', [directory, `run ${kill}`], 500 + 333 * kill)));
    }
    const { telemetry } = await openIn(directory);
    const stored = new Set<string>();
    for (let i = 0; i < 40; i += 1) {
      const found = await telemetry.query({ device: deviceNamed(`pump-${i}`), limit: 10_000 });
      for (const { payload, userProperties } of found) {
        stored.add(`${payload}`);
        const isEven = Number(`${payload}`.split(' ').at(-1)) % 2 === 0;
        if (!isEven || userProperties !== undefined) expect(userProperties).toEqual([['text', `${payload}`]]);
      }
    }
    expect(reported.filter((text) => !stored.has(text))).toEqual([]);
    expect(reported.length).toBeGreaterThan(7000);
    await telemetry.accept(message('pump-1', 'afterwards'));
  });
});

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}
