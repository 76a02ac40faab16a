/** What somebody who can write the registry's file does to its audit, and what the chain shows of it. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openRegistry } from '../open.ts';
import type { Registry } from '../registry.ts';

const log = pino({ level: 'silent' });
const MIGRATIONS = new URL('../sqlite/migrations/', import.meta.url);

async function registryOfTen(): Promise<{ registry: Registry; outside: Database.Database }> {
  const file = join(temporaryDirectory(), 'registry.db');
  const registry = await openRegistry({ file, now: () => 1_900_000_000_000, log });
  const outside = new Database(file);
  onTestFinished(async () => {
    outside.close();
    await registry.close();
  });
  for (let n = 1; n <= 10; n += 1) {
    const details = { n, text: `act ${n}` };
    await registry.recordAction({
      actor: 'operator/local',
      action: 'test.done',
      subject: `test/${n}`,
      outcome: 'done',
      details,
    });
  }
  expect(await registry.verifyAudit()).toMatchObject({ entries: 10, fault: undefined });
  return { registry, outside };
}

function dropTriggers(outside: Database.Database): void {
  for (const name of ['rewritten', 'shortened', 'replaced']) outside.exec(`DROP TRIGGER audit_is_not_${name}`);
}

describe('an audit that an attacker changes', () => {
  it.each([
    `UPDATE audit SET actor = 'operator/other' WHERE id = 3`,
    'DELETE FROM audit WHERE id = 10',
    `INSERT OR REPLACE INTO audit SELECT id, at, 'operator/other', action, subject, outcome, details, hash FROM audit WHERE id = 3`,
  ])('refuses %s', async (sql) => {
    const { registry, outside } = await registryOfTen();
    expect(() => outside.exec(sql)).toThrow('append-only');
    expect(await registry.verifyAudit()).toMatchObject({ entries: 10, fault: undefined });
  });

  it.each([
    [`UPDATE audit SET actor = 'operator/other' WHERE id = 3`, /^entry 3 does not have the hash/],
    ['UPDATE audit SET at = at + 1 WHERE id = 10', /^entry 10 does not have the hash/],
    [`UPDATE audit SET details = '{"n":3}' WHERE id = 3`, /^entry 3 does not have the hash/],
    [`UPDATE audit SET details = replace(details, ',', ', ') WHERE id = 3`, /^entry 3 does not have the hash/],
    [
      `UPDATE audit SET hash = replace(hash, substr(hash, 1, 1), 'f') WHERE id = 3`,
      /^entry [34] does not have the hash/,
    ],
    ['DELETE FROM audit WHERE id = 1', /^entry 2 does not have the hash/],
    ['DELETE FROM audit WHERE id = 5', /^expected entry 5, found 6: entries are missing/],
    ['DELETE FROM audit WHERE id > 8', /^expected entries up to 10, found 8 as the last: the end is missing/],
    ['DELETE FROM audit', /^expected entries up to 10, found 0 as the last/],
  ])('shows the change without its triggers: %s', async (sql, fault) => {
    const { registry, outside } = await registryOfTen();
    dropTriggers(outside);
    outside.exec(sql);
    expect((await registry.verifyAudit()).fault).toMatch(fault);
  });

  it('shows a clean cut at its end only to a head that was stored elsewhere', async () => {
    const { registry, outside } = await registryOfTen();
    const { head } = await registry.verifyAudit();
    dropTriggers(outside);
    outside.exec(`DELETE FROM audit WHERE id > 8; UPDATE sqlite_sequence SET seq = 8 WHERE name = 'audit'`);
    expect(await registry.verifyAudit()).toMatchObject({ entries: 8, fault: undefined });
    expect((await registry.verifyAudit(head)).fault).toMatch(/^expected entry 10, whose head was kept, found 8/);
  });
});

describe('an audit of an older version without a chain', () => {
  it('is chained when the file is opened, entry by entry', async () => {
    const file = join(temporaryDirectory(), 'registry.db');
    const old = new Database(file);
    old.exec(readFileSync(new URL('0001_initial.sql', MIGRATIONS), 'utf8'));
    old.pragma(`application_id = ${0x52437267}`);
    old.pragma('user_version = 1');
    const insert = old.prepare(
      `INSERT INTO audit (at, actor, action, subject, outcome, details) VALUES (?, 'operator/local', 'test.done', ?, 'done', ?)`,
    );
    for (let n = 1; n <= 1200; n += 1) insert.run(n, `test/${n}`, `{"z": ${n}, "a": "é\\u2028"}`);
    old.close();
    const registry = await openRegistry({ file, now: () => 5_000, log });
    onTestFinished(() => registry.close());
    await registry.recordAction({ actor: 'operator/local', action: 'test.done', subject: 'test/new', outcome: 'done' });
    expect(await registry.verifyAudit()).toMatchObject({ entries: 1201, fault: undefined });
    expect(await registry.exportAudit({ limit: 1 })).toMatchObject([
      { id: 1, at: 1, subject: 'test/1', details: { a: 'é\u2028', z: 1 }, previous: '0'.repeat(64) },
    ]);
  });
});
