/** The plans of SQLite for the statements that find audit entries: a search of one index each, without a scan and without a sort. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRegistry } from '../open.ts';
import { IDS_OF_TIMES, ORDERED_SOURCES } from './find-audit-entries.ts';

const directory = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
let database: Database.Database;
beforeAll(async () => {
  const file = join(directory, 'registry.db');
  await (await openRegistry({ file, now: Date.now, log: pino({ level: 'silent' }) })).close();
  database = new Database(file, { readonly: true });
});
afterAll(() => {
  database.close();
  rmSync(directory, { recursive: true });
});

function planOf(sql: string, parameters: Readonly<Record<string, unknown>>): readonly string[] {
  const statement = database.prepare(`EXPLAIN QUERY PLAN ${sql}`);
  return (statement.all(parameters) as readonly { readonly detail: string }[]).map(({ detail }) => detail);
}

it.each(Object.entries(ORDERED_SOURCES))('audit entries by %s are read in their order from an index', (name, sql) => {
  const value = name === 'every' ? {} : { [name]: 'x' };
  const plan = planOf(`${sql} ORDER BY id DESC LIMIT @slice`, { ...value, least: 1, most: 9, slice: 1 });
  expect(plan).toEqual([expect.stringMatching(/^SEARCH audit USING (COVERING INDEX|INTEGER PRIMARY KEY) .*[<>]/)]);
});

it('the ids of a range of times are read from an index alone', () => {
  const plan = planOf(IDS_OF_TIMES, { since: 0, until: 1 });
  expect(plan).toContainEqual(expect.stringMatching(/^SEARCH audit USING COVERING INDEX audit_by_time .*at>.*at</));
});
