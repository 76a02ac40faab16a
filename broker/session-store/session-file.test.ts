/** The file of what is kept: how it is opened, and what is done about one that can't be read. */

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openSessionStore } from './open-session-store.ts';
import { openSessionFile } from './session-file.ts';

const log = pino({ level: 'silent' });
const fileIn = (directory: string) => join(directory, 'sessions.db');

async function written(): Promise<string> {
  const file = fileIn(temporaryDirectory());
  const sessions = await openSessionStore({ file, now: Date.now, log });
  const bytes = Buffer.alloc(2_000, 'x');
  const message = { payload: bytes, qos: 1, retain: true, properties: undefined, expiresAt: undefined } as const;
  for (let i = 0; i < 50; i += 1) {
    sessions.store.retain({ ...message, topic: `t/${i}`, clientId: undefined, number: i }, 'o');
  }
  await sessions.close();
  return file;
}

describe('the session file', () => {
  it('syncs every commit, on the first open and on each one after', () => {
    const file = fileIn(temporaryDirectory());
    for (let open = 0; open < 2; open += 1) {
      const database = openSessionFile(file, 'header');
      expect(database.pragma('synchronous', { simple: true })).toBe(2);
      expect(database.pragma('journal_mode', { simple: true })).toBe('wal');
      database.close();
    }
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['that is cut in slot', (file: string) => writeFileSync(file, readFileSync(file).subarray(0, 40_000))],
    [
      'with a page of noise',
      (file: string) => {
        const bytes = readFileSync(file);
        bytes.fill(0xa5, 8_192, 24_576);
        writeFileSync(file, bytes);
      },
    ],
    ['that is empty', (file: string) => writeFileSync(file, '')],
    ['of somebody else', (file: string) => writeFileSync(file, 'a letter')],
  ])('refuses one %s, says what to do, and leaves it as it is', async (_, damage) => {
    const file = await written();
    damage(file);
    const before = readFileSync(file);
    await expect(openSessionStore({ file, now: Date.now, log })).rejects.toMatchObject({
      code: 'database_damaged',
      hint: expect.stringContaining('restore it from a backup'),
    });
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  it('refuses one of a newer version', async () => {
    const file = await written();
    const database = new Database(file);
    database.pragma('user_version = 99');
    database.close();
    await expect(openSessionStore({ file, now: Date.now, log })).rejects.toMatchObject({ code: 'database_newer' });
  });
});
