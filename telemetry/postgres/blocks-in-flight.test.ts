/** Several blocks of a lane that are stored at once, one of which fails: nothing is acknowledged or read before what comes before it. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { deviceNamed, message, START, texts } from '../../test/behaviour/telemetry-messages.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { openNode } from '../../test/fixtures/postgres-journal.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { Cursor } from '../cursor.ts';
import type { Accepted, StoredMessage, Telemetry } from '../telemetry.ts';

const PUMP = deviceNamed('pump-1');
/** A batch for each message. */
const LIMITS = { window: 1, batchEntries: 1, retryEvery: 20, patience: 120_000 };
const NEVER = 2 ** 31 - 1;

async function read(telemetry: Telemetry, after: Cursor = Cursor.BEGIN): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  for await (const page of telemetry.pages({ after })) found.push(...page);
  return found;
}

const keyed = (text: string) => ({ ...message('pump-1', text), key: `${text}.e` });

/** Slots in the order in which blocks get them. */
const [FIRST, SECOND] = [3, 2];

/** Holds the block of this slot back. */
async function hold(database: PostgresDatabase, slot: number) {
  const connection = await database.connect();
  await connection.query('BEGIN');
  await connection.query('SELECT 1 FROM telemetry_slots WHERE slot = $1 FOR UPDATE', [slot]);
  return {
    release: async () => {
      await connection.query('ROLLBACK');
      await connection.close();
    },
  };
}

/** Ends the statements that wait for a lock with an error. */
const CANCEL = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%telemetry_slots%'`;

describeWithClients('blocks of a lane that are stored at once', ['postgres'], () => {
  const postgres = suitePostgres();

  /** A node with one message, three more that it was sent, of which one is held back and the others are stored, and a reader. */
  async function withOneHeldBack(slot: number, limits: Partial<typeof LIMITS> = {}) {
    const database = await postgres().open();
    const other = await openNode(database, 'b', { pollEvery: 10 });
    const node = await openNode(database, 'a', { limits: { ...LIMITS, ...limits }, marks: { index: 1, keys: 1 } });
    const heard: string[] = [];
    other.follow(undefined, ({ payload }) => heard.push(`${payload}`));
    await node.accept(keyed('0'));
    const held = await hold(database, slot);
    const told: string[] = [];
    const all = ['1', '2', '3'].map((text) =>
      node.accept(keyed(text)).then(
        (accepted: Accepted) => told.push(`${text} ${accepted}`),
        () => told.push(`${text} refused`),
      ),
    );
    const count = async () =>
      (await database.query<{ n: number }>('SELECT count(*)::int AS n FROM telemetry_blocks')).rows[0]?.n;
    await expect.poll(count).toBe(3);
    const expectVisible = async (...expected: readonly string[]) => {
      expect(texts(await other.query({ device: PUMP, limit: 9 }))).toEqual(expected);
      expect(texts(await other.last(PUMP))).toEqual(expected.slice(-1));
      expect(texts(await read(other))).toEqual(expected);
      const { end } = await other.bounds();
      expect(texts(await read(other, end))).toEqual([]);
      const since = await other.cursorBefore({ since: START });
      expect(texts(await read(other, since))).toEqual(expected);
    };
    return { database, node, other, held, heard, told, all, expectVisible, count };
  }

  it('are acknowledged and read in their order, when the first of them is stored at last', async () => {
    const { node, other, held, heard, told, all, expectVisible } = await withOneHeldBack(FIRST);
    await expectVisible('0');
    expect(told).toEqual([]);
    await postgres().primary.ask(CANCEL);
    await expect.poll(() => node.counters().isHeld).toBe(true);
    await expectVisible('0');
    expect([told, node.counters().stored]).toEqual([[], 1]);
    await held.release();
    await Promise.all(all);
    expect(told).toEqual(['1 stored', '2 stored', '3 stored']);
    expect(texts(await read(other))).toEqual(['0', '1', '2', '3']);
    expect(texts(await other.query({ device: PUMP, limit: 9 }))).toEqual(['0', '1', '2', '3']);
    await expect.poll(() => heard).toEqual(['0', '1', '2', '3']);
  });

  it('are refused together with one that is given up, are removed before anything else is stored, and are stored once when they are sent again', async () => {
    const { node, other, held, told, all, expectVisible, heard } = await withOneHeldBack(FIRST, { patience: 0 });
    await postgres().primary.ask(CANCEL);
    await Promise.all(all);
    expect(told).toEqual(['1 refused', '2 refused', '3 refused']);
    await expectVisible('0');
    await held.release();
    for (const text of ['1', '2', '3', '4']) expect(await node.accept(keyed(text))).toBe('stored');
    for (const text of ['1', '4']) expect(await node.accept(keyed(text))).toBe('repeated');
    expect(texts(await read(other))).toEqual(['0', '1', '2', '3', '4']);
    expect(texts(await node.query({ device: PUMP, limit: 9 }))).toEqual(['0', '1', '2', '3', '4']);
    await expect.poll(() => heard).toEqual(['0', '1', '2', '3', '4']);
    expect(node.isFenced).toBe(false);
    expect((await node.stats()).messages).toBe(5);
  });

  it('are removed by the next process of their node when one before them was not stored', async () => {
    const { database, node, other, held, all, expectVisible, count } = await withOneHeldBack(SECOND, {
      retryEvery: NEVER,
    });
    await postgres().primary.ask(CANCEL);
    await expect.poll(() => node.counters().isHeld).toBe(true);
    await held.release();
    const next = await openNode(database, 'a');
    expect(await count()).toBe(2);
    await expectVisible('0', '1');
    expect(await next.accept(keyed('1'))).toBe('repeated');
    for (const text of ['2', '3']) expect(await next.accept(keyed(text))).toBe('stored');
    expect(texts(await read(other))).toEqual(['0', '1', '2', '3']);
    expect((await next.stats()).messages).toBe(4);
    await node.close();
    await Promise.all(all);
    expect(texts(await read(other))).toEqual(['0', '1', '2', '3']);
  });

  it('are read once and without a gap by a reader with a cursor, and stored once, while statements fail at random', async () => {
    const database = await postgres().open();
    const limits = { ...LIMITS, batchEntries: 4 };
    const marks = { index: 40, keys: 40 };
    const node = await openNode(database, 'a', { limits, marks });
    const other = await openNode(database, 'b', { marks });
    const devices = Array.from({ length: 12 }, (_, n) => `pump-${n}`);
    let isEnding = false;
    const publish = async (device: string) => {
      let number = 0;
      while (!isEnding) {
        number += 1;
        const accepted = await node.accept({ ...message(device, `${number}`), key: `${number}.e` });
        expect(accepted).toBe('stored');
      }
      return number;
    };
    const publishing = Promise.all(devices.map(publish));
    const found = new Map<string, number[]>(devices.map((device) => [device, []]));
    let cursor = Cursor.BEGIN;
    const readOn = async () => {
      for (const stored of await read(other, cursor)) {
        cursor = stored.cursor ?? cursor.after(stored.position);
        found.get(stored.device)?.push(Number(`${stored.payload}`));
      }
    };
    const failing = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
      WHERE query LIKE '%UPDATE telemetry_slots%' AND state = 'active' AND pid <> pg_backend_pid() AND random() < 0.5`;
    let failed = 0;
    while (failed < 20) {
      failed += (await postgres().primary.ask(failing)).length;
      await readOn();
      await nextTurn();
    }
    isEnding = true;
    const sent = await publishing;
    await readOn();
    for (const [n, device] of devices.entries()) {
      expect(found.get(device)).toEqual(Array.from({ length: sent[n] as number }, (_, i) => i + 1));
    }
  });
});
