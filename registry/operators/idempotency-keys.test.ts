/** The bound of stored keys, written into the file: ten thousand commits would take too long. */

import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openRegistry } from '../open.ts';
import { MAX_IDEMPOTENCY_KEYS } from './idempotency-keys.ts';

const NOW = Date.UTC(2030, 0, 2);

it('the oldest keys of an operator that ended are removed beyond ten thousand, never one that runs or of another', async () => {
  const file = join(temporaryDirectory(), 'registry.db');
  const registry = await openRegistry({ file, now: () => NOW, log: pino({ level: 'silent' }) });
  onTestFinished(() => registry.close());
  const outside = new Database(file);
  onTestFinished(() => {
    outside.close();
  });
  const insert = outside.prepare('INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?, ?)');
  const hash = (n: number) =>
    Buffer.alloc(32)
      .fill(n % 256, 4)
      .fill(n >> 8, 0, 4);
  outside.transaction(() => {
    const start = NOW - MAX_IDEMPOTENCY_KEYS - 1;
    insert.run('operator/ada', hash(60_000), hash(0), start, null, null);
    insert.run('operator/bob', hash(1), hash(0), start, NOW, 200);
    for (let n = 0; n < MAX_IDEMPOTENCY_KEYS; n += 1) {
      insert.run('operator/ada', hash(n), hash(0), start + 1 + n, NOW, 200);
    }
  })();
  const isKnown = async (operator: 'operator/ada' | 'operator/bob', n: number) =>
    (await registry.beginAct({ operator, keyHash: hash(n), fingerprint: hash(0) })) !== undefined;
  const count = () => outside.prepare('SELECT count(*) FROM idempotency_keys').pluck().get();
  expect(await isKnown('operator/ada', 50_000)).toBe(false); // one more
  expect(count()).toBe(MAX_IDEMPOTENCY_KEYS + 2);
  expect(await isKnown('operator/ada', 60_000)).toBe(true); // it runs
  expect(await isKnown('operator/ada', MAX_IDEMPOTENCY_KEYS - 1)).toBe(true);
  expect(await isKnown('operator/bob', 1)).toBe(true);
  expect(await isKnown('operator/ada', 0)).toBe(false); // the oldest that ended
});
