/** Nodes that write one journal: a device that moves between them, readers of all of them, and a lease that another process took. */

import { expect, it } from 'vitest';
import { PostgresWakes } from '../../storage/postgres/index.ts';
import { DAY, deviceNamed, message, START, texts } from '../../test/behaviour/telemetry-messages.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { openNode } from '../../test/fixtures/postgres-journal.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { Cursor } from '../cursor.ts';
import { positionNumber } from '../position.ts';
import type { StoredMessage, Telemetry, TelemetryRange } from '../telemetry.ts';

const PUMP = deviceNamed('pump-1');
/** The longest that a timer takes. */
const NEVER = 2 ** 31 - 1;

async function read(telemetry: Telemetry, range: TelemetryRange = {}): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  for await (const page of telemetry.pages(range)) found.push(...page);
  return found;
}

describeWithClients('nodes with lanes of one journal', ['postgres'], () => {
  const postgres = suitePostgres();

  it('store the messages of a device in their order when it moves between nodes, whatever their clocks say', async () => {
    const database = await postgres().open();
    const a = await openNode(database, 'a', { now: () => START + DAY, marks: { index: 3, keys: 9 } });
    const b = await openNode(database, 'b', { now: () => START, marks: { index: 3, keys: 9 } });
    for (let i = 0; i < 24; i += 1) {
      const node = Math.floor(i / 4) % 2 === 0 ? a : b;
      if (i % 4 === 0) await node.claimed(PUMP);
      await node.accept(message('pump-1', `${i}`, { receivedAt: START + i, stream: i % 2 === 0 ? 's' : 't' }));
      await node.accept(message('pump-2', `other ${i}`, { receivedAt: START + i }));
    }
    const all = Array.from({ length: 24 }, (_, i) => `${i}`);
    for (const node of [a, b]) {
      expect(texts(await node.query({ device: PUMP, limit: 100 }))).toEqual(all);
      expect(texts(await node.query({ device: PUMP, limit: 5 }))).toEqual(all.slice(-5));
      expect(texts(await node.last(PUMP))).toEqual(['22', '23']);
      const newest = await node.query({ device: PUMP, limit: 9 });
      const before = await node.query({ device: PUMP, limit: 9, before: (newest[0] as StoredMessage).position });
      expect(texts(before)).toEqual(all.slice(6, 15));
    }
    expect(new Set((await read(a)).map(({ position }) => `${position}`)).size).toBe(48);
  });

  it('store messages of a new day while a transaction that has read the days before does not end', async () => {
    const database = await postgres().open({ timeouts: { lock: 100 } });
    const node = await openNode(database, 'a', { now: () => START });
    await node.accept(message('pump-1', 'first', { receivedAt: START }));
    const copy = await postgres().primary.hold(`SELECT count(*) FROM ${database.schema}.telemetry_blocks`);
    const later = message('pump-1', 'later', { receivedAt: START + 9 * DAY });
    const stored = await node.accept(later).finally(() => copy.release());
    expect(stored).toBe('stored');
    expect(texts(await node.query({ device: PUMP, limit: 9 }))).toEqual(['first', 'later']);
  });

  it.each([
    ['counted keys', (i: number) => `${i}.epoch`],
    ['other keys', (i: number) => `key-${i}`],
  ])('store a message once under %s, whichever nodes it is sent to', async (_, keyOf) => {
    const database = await postgres().open();
    const marks = { index: 100, keys: 5 };
    const a = await openNode(database, 'a', { marks });
    const b = await openNode(database, 'b', { marks });
    const send = (node: Telemetry, i: number) => node.accept({ ...message('pump-1', `${i}`), key: keyOf(i) });
    const outcomes: string[] = [];
    for (let i = 0; i < 20; i += 1) {
      const [one, other] = i % 2 === 0 ? [a, b] : [b, a];
      await one.claimed(PUMP);
      outcomes.push(await send(one, i));
      await other.claimed(PUMP);
      outcomes.push(await send(other, i), await send(other, Math.max(0, i - 7)));
    }
    expect(outcomes).toEqual(Array.from({ length: 20 }, () => ['stored', 'repeated', 'repeated']).flat());
    const again = await openNode(database, 'b', { marks });
    for (let i = 0; i < 20; i += 1) expect(await send(again, i)).toBe('repeated');
    expect(texts(await a.query({ device: PUMP, limit: 100 }))).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`));
  });

  it('are read by a cursor of all lanes: what came after it, once, and nothing else', async () => {
    const database = await postgres().open();
    const [a, b] = [await openNode(database, 'a'), await openNode(database, 'b')];
    const send = (node: Telemetry, from: number, to: number) =>
      Promise.all(Array.from({ length: to - from }, (_, i) => node.accept(message('pump-1', `${from + i}`))));
    await Promise.all([send(a, 0, 300), send(b, 1000, 1300)]);
    const first = await read(a);
    expect(first).toHaveLength(600);
    for (const stopped of [0, 1, 299, 300, 450, 599]) {
      const cursor = Cursor.parse(`${first[stopped]?.cursor}`) as Cursor;
      const rest = await read(b, { after: cursor });
      expect([...texts(first.slice(0, stopped + 1)), ...texts(rest)]).toEqual(texts(first));
    }
    const { end } = await a.bounds();
    await Promise.all([send(b, 1300, 1310), send(a, 300, 310)]);
    expect(new Set(texts(await read(a, { after: end })))).toEqual(
      new Set(Array.from({ length: 10 }, (_, i) => [`${300 + i}`, `${1300 + i}`]).flat()),
    );
    expect(end.distanceTo((await b.bounds()).end)).toBe(20);
  });

  it('tell their followers of the messages of all nodes, each once, with a cursor from which they resume', async () => {
    const database = await postgres().open();
    const [a, b] = [await openNode(database, 'a'), await openNode(database, 'b')];
    await a.accept(message('pump-1', 'first of a'));
    await b.accept(message('pump-1', 'first of b'));
    a.wake();
    const heard: StoredMessage[] = [];
    const all = Promise.withResolvers<void>();
    a.follow(undefined, (stored) => {
      heard.push(stored);
      if (heard.filter(({ payload }) => `${payload}`.startsWith('new')).length === 40) all.resolve();
    });
    for (let i = 0; i < 20; i += 1) {
      await Promise.all([a.accept(message('pump-1', `new a ${i}`)), b.accept(message('pump-2', `new b ${i}`))]);
    }
    await all.promise;
    const fresh = heard.filter(({ payload }) => `${payload}`.startsWith('new'));
    expect(new Set(texts(fresh)).size).toBe(40);
    const cursor = heard.at(-1)?.cursor as Cursor;
    expect(await read(b, { after: cursor })).toEqual([]);
  });

  it('wake the followers of other nodes when they stored something', async () => {
    const database = await postgres().open();
    const listening: PostgresWakes[] = [];
    const wakesOf = async () => {
      const connected = Promise.withResolvers<void>();
      const wakes = new PostgresWakes({
        database: await postgres().open({ schema: database.schema }),
        onConnected: connected.resolve,
      });
      listening.push(wakes);
      await connected.promise;
      return wakes;
    };
    const a = await openNode(database, 'a', { wakes: await wakesOf(), pollEvery: NEVER });
    const b = await openNode(database, 'b', { wakes: await wakesOf() });
    let read = Promise.withResolvers<StoredMessage>();
    a.follow(undefined, (stored) => read.resolve(stored));
    for (let i = 0; i < 15; i += 1) {
      read = Promise.withResolvers();
      await b.accept(message('pump-1', `${i}`));
      expect(texts([await read.promise])).toEqual([`${i}`]);
    }
    for (const wakes of listening) await wakes.close();
  });

  it('refuse everything from a lease that another process took, and acknowledge none of it', async () => {
    const database = await postgres().open();
    let timesLost = 0;
    const lost = () => {
      timesLost += 1;
    };
    const former = await openNode(database, 'a', { lost });
    await former.accept(message('pump-1', 'before'));
    const next = await openNode(database, 'a');
    const refused = former.accept(message('pump-1', 'too late'));
    await expect(refused).rejects.toMatchObject({ code: 'unavailable' });
    expect([former.isFenced, timesLost]).toEqual([true, 1]);
    await expect(former.accept(message('pump-1', 'later still'))).rejects.toMatchObject({ code: 'unavailable' });
    await next.accept(message('pump-1', 'after'));
    expect(texts(await next.query({ device: PUMP, limit: 9 }))).toEqual(['before', 'after']);
    expect(former.counters()).toMatchObject({ stored: 1, refused: 2, isUnderPressure: false });
  });

  it('refuse everything from a node that another one has fenced off, until it opens its lane again', async () => {
    const database = await postgres().open();
    const [dead, other] = [await openNode(database, 'a'), await openNode(database, 'b')];
    await dead.accept(message('pump-1', 'before'));
    await database.transaction((transaction) => other.fenceOff(transaction, 'a'));
    await expect(dead.accept(message('pump-1', 'too late'))).rejects.toMatchObject({ code: 'unavailable' });
    expect(dead.isFenced).toBe(true);
    await other.claimed(PUMP);
    await other.accept(message('pump-1', 'elsewhere'));
    const again = await openNode(database, 'a');
    await again.claimed(PUMP);
    await again.accept(message('pump-1', 'after'));
    expect(texts(await other.query({ device: PUMP, limit: 9 }))).toEqual(['before', 'elsewhere', 'after']);
  });

  it('give no position twice after the database was restored from a backup', async () => {
    const database = await postgres().open();
    const before = await openNode(database, 'a');
    await before.accept({ ...message('pump-1', 'before'), key: '1.e' });
    await before.close();
    const { end } = await before.bounds();
    const restored = await openNode(database, 'a', { after: 'restore' });
    expect(await restored.accept({ ...message('pump-1', 'again'), key: '1.e' })).toBe('repeated');
    await restored.accept({ ...message('pump-1', 'after'), key: '2.e' });
    const found = await restored.query({ device: PUMP, limit: 9 });
    expect(texts(found)).toEqual(['before', 'after']);
    expect(positionNumber((found[1] as StoredMessage).position)).toBeGreaterThan(1e12);
    expect(texts(await read(restored, { after: end }))).toEqual(['after']);
    const again = await openNode(database, 'a');
    await again.accept(message('pump-1', 'next'));
    expect(texts(await again.query({ device: PUMP, limit: 9 }))).toEqual(['before', 'after', 'next']);
  });

  it('give one lane to each node, also to nodes that start at once', async () => {
    const database = await postgres().open();
    const names = ['a', 'b', 'c', 'd'];
    const nodes = await Promise.all(names.map((name) => openNode(database, name)));
    await Promise.all(nodes.map((node, i) => node.accept(message(`pump-${i}`, `${i}`))));
    const { rows } = await database.query(
      'SELECT l.id, l.node, max(s.last) AS newest FROM telemetry_lanes AS l JOIN telemetry_slots AS s ON s.lane = l.id GROUP BY l.id, l.node ORDER BY l.id',
    );
    expect(rows.map(({ id, newest }) => [id, newest])).toEqual([0, 1, 2, 3].map((id) => [id, 1]));
    expect(rows.map(({ node }) => node).toSorted()).toEqual(names);
  });

  it('remove the messages of a group that is stored for a shorter time, and keep those of others', async () => {
    const database = await postgres().open();
    const telemetry = await openNode(database, 'a', {
      now: () => START + 5 * DAY,
      marks: { index: 4, keys: 4 },
      devicesOf: async (group) => (group === 'short' ? ['pump-1'] : []),
    });
    for (let day = 0; day < 5; day += 1) {
      for (const device of ['pump-1', 'pump-2']) {
        await telemetry.accept(message(device, `${day}`, { receivedAt: START + day * DAY }));
      }
    }
    const rules = { age: 0, bytes: 0, groups: { short: 2 * DAY } };
    const removed = await telemetry.prune(rules);
    expect(removed.map(({ name, messages }) => [name, messages])).toEqual([
      ['2030-01-01', 1],
      ['2030-01-02', 1],
    ]);
    expect(texts(await telemetry.query({ device: PUMP, limit: 9 }))).toEqual(['2', '3', '4']);
    expect(texts(await telemetry.query({ device: deviceNamed('pump-2'), limit: 9 }))).toEqual([
      '0',
      '1',
      '2',
      '3',
      '4',
    ]);
    expect((await telemetry.stats()).messages).toBe(8);
    expect(await telemetry.prune(rules)).toEqual([]);
  });
});
