/** Every list and count of what expires searches an index, so that a page costs the same in a fleet of any size. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, expect, it, vi } from 'vitest';
import { openDatabase } from '../sqlite/sqlite-database.ts';
import { Statements } from '../sqlite/sqlite-transaction.ts';
import { EXPIRING_KINDS, RECORDED_EXPIRING_KINDS } from './expiring-items.ts';
import { createExpiryStore } from './expiry.ts';

const dir = mkdtempSync(join(tmpdir(), 'rollcall-expiry-'));
afterEach(() => rmSync(dir, { recursive: true }));

it('no query about expiry reads a whole table or sorts', async () => {
  const file = join(dir, 'registry.db');
  const prepared = new Set<string>();
  const original = Statements.prototype.prepare;
  const spy = vi.spyOn(Statements.prototype, 'prepare').mockImplementation(function (this: Statements, sql) {
    prepared.add(sql);
    return original.call(this, sql);
  });
  const database = openDatabase({ file, now: () => 1_000 });
  const store = createExpiryStore(database);
  for (const which of ['ending', 'late'] as const) {
    await store.listExpiring({ which, until: 9_000, kinds: EXPIRING_KINDS, limit: 10 });
  }
  for (const kind of RECORDED_EXPIRING_KINDS) {
    await store.countExpiring(kind, [9_000]);
    await store.countLate(kind);
  }
  spy.mockRestore();
  database.close();

  const plain = new Database(file, { readonly: true });
  const queries = [...prepared].filter((sql) => /not_after|expires_at/.test(sql));
  expect(queries.length).toBeGreaterThanOrEqual(11);
  for (const sql of queries) {
    const values = { at: 1, id: 'a', until: 2, limit: 3, now: 1, lastAt: 1, lastId: 'b' };
    const plan = plain.prepare<[object], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all(values);
    for (const { detail } of plan) expect(detail, sql).not.toMatch(/^SCAN|TEMP B-TREE/);
  }
  plain.close();
});
