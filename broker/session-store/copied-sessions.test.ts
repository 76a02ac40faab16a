import { join } from 'node:path';
import { expect, it } from 'vitest';
import { STORED_SESSIONS } from '../../test/fixtures/broker/stored-sessions.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { readSessionFile, writeSessionFile } from './copied-session-file.ts';
import { digestOfRows } from './copied-sessions.ts';
import type { SessionRows } from './session-rows.ts';

/** How many turns of the event loop other work has until this ends. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  const turn = () => {
    turns += 1;
    next = setImmediate(turn);
  };
  let next = setImmediate(turn);
  await work;
  clearImmediate(next);
  return turns;
}

it('a copy of many sessions and its digest leave turns to other work, such as the renewal of a lease', async () => {
  const [subscription] = STORED_SESSIONS.subscriptions;
  if (subscription === undefined) throw new Error('expected a subscription');
  const subscriptions = Array.from({ length: 30_000 }, (_, n) => ({ ...subscription, filter: `a/${n}` }));
  const rows: SessionRows = { ...STORED_SESSIONS, subscriptions };
  const file = join(temporaryDirectory(), 'sessions.db');
  expect(await turnsDuring(writeSessionFile(file, rows))).toBeGreaterThan(1);
  expect(await turnsDuring(digestOfRows(rows))).toBeGreaterThan(20);
  expect(await digestOfRows(readSessionFile(file))).toEqual(await digestOfRows(rows));
});
