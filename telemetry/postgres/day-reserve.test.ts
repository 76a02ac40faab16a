/** Retention by bytes of a journal whose nodes store messages of reserved classes: others are removed before them, whichever node stored them. */

import { expect, it } from 'vitest';
import { DAY, START } from '../../test/behaviour/telemetry-messages.ts';
import { silent } from '../../test/fixtures/journal.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { Cursor } from '../cursor.ts';
import type { StoredMessage, Telemetry, TelemetryRange } from '../telemetry.ts';
import { openPostgresTelemetry } from './open.ts';

const BYTES = 400_000;
const RESERVED = {
  names: ['operator', 'certificate'],
  of: (stream: string) => ({ revoked: 'operator', renewed: 'certificate' })[stream],
  part: 1 / 8,
};

async function read(journal: Telemetry<string>, range: TelemetryRange<string> = {}): Promise<StoredMessage<string>[]> {
  const found: StoredMessage<string>[] = [];
  for await (const page of journal.pages(range)) found.push(...page);
  return found;
}

const typed = (events: readonly StoredMessage<string>[], type: string) =>
  events.filter(({ stream }) => stream === type);

describeWithClients('a journal on PostgreSQL with reserved classes', ['postgres'], () => {
  const postgres = suitePostgres();

  async function openNodes(retention = { age: 0, bytes: BYTES }) {
    const database = await postgres().open();
    let now = START;
    const nodes: Telemetry<string>[] = [];
    for (const node of ['a', 'b']) {
      nodes.push(
        await openPostgresTelemetry<string>({
          ...{ database, journal: 'events', node, now: () => now, log: silent, retention, reserved: RESERVED },
          marks: { index: 50, keys: 50 },
        }),
      );
    }
    const [a, b] = nodes as [Telemetry<string>, Telemetry<string>];
    const store = (node: Telemetry<string>, device: string, stream: string, count: number, size = 300) =>
      Promise.all(
        Array.from({ length: count }, (_, n) => {
          const payload = Buffer.from(`${stream} ${n}`.padEnd(size, 'x'));
          return node.accept({ device: n === 0 ? device : `${device}-${n}`, stream, receivedAt: now, qos: 1, payload });
        }),
      );
    const close = () => Promise.all(nodes.map((node) => node.close()));
    return { a, b, store, close, nextDay: () => (now += DAY), database };
  }

  it('removes what is not reserved from the oldest days, of all nodes, and keeps the rest with its positions', async () => {
    const { a, b, store, close, nextDay, database } = await openNodes();
    for (let day = 0; day < 4; day += 1) {
      await store(a, 'flood', 'connected', 400);
      await store(b, `thief-${day}`, 'revoked', 2);
      await store(b, 'flood', 'connected', 200);
      await store(a, `pump-${day}`, 'renewed', 3);
      nextDay();
    }
    const before = await read(a);
    const removed = await a.prune();
    expect(removed.map(({ name }) => name)).toEqual(['2030-01-01', '2030-01-02', '2030-01-03']);
    const after = await read(b);
    expect(typed(after, 'revoked')).toEqual(typed(before, 'revoked'));
    expect(typed(after, 'renewed')).toEqual(typed(before, 'renewed'));
    const left = ({ receivedAt }: StoredMessage<string>) => receivedAt >= START + 3 * DAY;
    expect(typed(after, 'connected')).toEqual(typed(before, 'connected').filter(left));
    expect(removed.reduce((sum, { messages }) => sum + messages, 0)).toBe(before.length - after.length);
    expect((await a.stats()).bytes).toBeLessThan(BYTES);
    expect((await a.stats()).messages).toBe(after.length);
    // Nothing is left to remove, and the space of what was removed is free.
    expect(await b.prune()).toEqual([]);
    const { rows } = await database.query<{ blocks: number; runs: number }>(
      `SELECT (SELECT count(*)::int FROM events_blocks WHERE day = $1) AS blocks,
         (SELECT coalesce(sum(octet_length(entries)), 0)::int FROM events_runs WHERE day = $1) AS runs`,
      [Math.floor(START / DAY)],
    );
    expect(rows[0]?.blocks).toBeLessThan(8);
    expect(rows[0]?.runs).toBeLessThan(20 * 20);
    await close();
  });

  it('finds what is left by its device, also behind a cursor, and goes on storing', async () => {
    const { a, b, store, close, nextDay } = await openNodes();
    await store(a, 'thief', 'revoked', 1);
    for (let day = 0; day < 4; day += 1) {
      await store(a, 'flood', 'connected', 600);
      await store(b, 'thief', 'renewed', 1);
      nextDay();
    }
    const before = await read(a, { device: 'thief' });
    const middle = (await read(a)).find(({ stream }) => stream === 'connected');
    expect((await a.prune()).length).toBeGreaterThan(0);
    expect(await read(b, { device: 'thief' })).toEqual(before);
    expect((await b.query({ device: 'thief', limit: 10 })).map(({ stream }) => stream)).toEqual([
      ...['revoked', 'renewed', 'renewed', 'renewed', 'renewed'],
    ]);
    const later = await read(b, { device: 'thief', after: middle?.cursor as Cursor });
    expect(typed(later, 'renewed')).toHaveLength(4);
    await store(b, 'thief', 'revoked', 1);
    expect(await read(a, { device: 'thief' })).toHaveLength(6);
    await close();
  });

  it('bounds each class, so that many certificates evict no revocation', async () => {
    const { a, store, close, nextDay } = await openNodes();
    await store(a, 'thief', 'revoked', 5);
    for (let day = 0; day < 8; day += 1) {
      await store(a, `fleet-${day}`, 'renewed', 100, 400);
      await store(a, 'flood', 'connected', 500);
      nextDay();
    }
    await a.prune();
    const left = await read(a);
    expect(typed(left, 'revoked')).toHaveLength(5);
    // 1/8 of the bytes in the reserve, beside those of days that are whole.
    const renewed = new Set(typed(left, 'renewed').map(({ device }) => device.split('-')[1]));
    expect(renewed.size).toBeLessThan(8);
    expect(renewed).toContain('7');
    expect((await a.stats()).bytes).toBeLessThan(BYTES);
    await close();
  });

  it('is indexed by a node that starts after messages were removed which it had not indexed', async () => {
    const database = await postgres().open();
    const open = (now: number, index: number) =>
      openPostgresTelemetry<string>({
        ...{ database, journal: 'events', node: 'a', now: () => now, log: silent, reserved: RESERVED },
        ...{ retention: { age: 0, bytes: BYTES / 20 }, marks: { index, keys: 50 } },
      });
    const store = (node: Telemetry<string>, receivedAt: number) =>
      Promise.all(
        ['connected', 'revoked', 'connected'].map((stream) => {
          const payload = Buffer.alloc(stream === 'revoked' ? 100 : 10_000);
          return node.accept({ device: 'thief', stream, receivedAt, qos: 1, payload });
        }),
      );
    const first = await open(START, 1_000);
    await store(first, START);
    await store(first, START + DAY);
    expect((await first.prune()).map(({ messages }) => messages)).toEqual([2]);
    await first.close();
    const again = await open(START + DAY, 2);
    await store(again, START + DAY);
    await again.close();
    const { rows } = await database.query<{ indexed: number }>('SELECT indexed FROM events_marks');
    expect(rows[0]?.indexed).toBe(9);
  });

  it('removes reserved messages too once they are too old', async () => {
    const { a, store, close, nextDay } = await openNodes({ age: 3 * DAY, bytes: BYTES });
    await store(a, 'thief', 'revoked', 1);
    for (let day = 0; day < 6; day += 1) {
      await store(a, 'flood', 'connected', 600);
      nextDay();
    }
    await a.prune();
    expect(typed(await read(a), 'revoked')).toEqual([]);
    await close();
  });
});
