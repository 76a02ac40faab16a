/** The limits of queues, expiry of queued messages, connected clients without room, and messages of shared subscriptions. */

import { describe, expect, it } from 'vitest';
import { drain, message, openStore, putSessions, receiver } from '../../test/fixtures/broker/stored-messages.ts';
import { GUARANTEED_BYTES, type PoolRefusal } from './memory-pool.ts';
import type { MessageQueue } from './message-queue.ts';

const START = Date.UTC(2026, 0, 1);
const SHARE = '$share/group/a/b';

describe('a full queue', () => {
  it('drops the oldest unsent message for a new one, and never a message that was sent', async () => {
    const { store } = await openStore({ limits: { queuedMessages: 3 } });
    putSessions(store, 'c1');
    const queue = store.queueOf('c1', { isStored: true });
    for (const text of ['1', '2', '3']) store.enqueue([receiver('c1')], message(text));
    queue.assignPacketId(queue.nextUnsent() as never, 9);
    expect(store.enqueue([receiver('c1')], message('4'))).toEqual(['c1']);
    expect(store.counters().dropped).toBe(1);
    expect(drain(store, 'c1')).toEqual(['9:1', '3', '4']);
  });

  it('counts the bytes of payload and properties', async () => {
    const { store } = await openStore({ limits: { queuedBytes: 1_000 } });
    putSessions(store, 'c1');
    const properties = { userProperties: [['name', 'x'.repeat(300)]] as const };
    for (const text of ['1', '2', '3']) store.enqueue([receiver('c1')], message(text, { properties }));
    expect(drain(store, 'c1')).toEqual(['2', '3']);
  });

  it('keeps its messages when a message larger than the whole queue arrives, which is not queued', async () => {
    const { store } = await openStore({ limits: { queuedBytes: 10 } });
    putSessions(store, 'c1');
    store.enqueue([receiver('c1')], message('1'));
    expect(store.enqueue([receiver('c1')], message('x'.repeat(11)))).toEqual([]);
    expect(drain(store, 'c1')).toEqual(['1']);
  });

  it('refuses a message when its client is away and all others were sent', async () => {
    const { store } = await openStore({ limits: { queuedMessages: 1 } });
    putSessions(store, 'c1');
    store.enqueue([receiver('c1')], message('1'));
    const queue = store.queueOf('c1', { isStored: true });
    queue.assignPacketId(queue.nextUnsent() as never, 1);
    expect(store.enqueue([receiver('c1')], message('2'))).toEqual([]);
    expect(store.enqueue([receiver('c1', { isConnected: true })], message('3'))).toEqual(['c1']);
    expect(drain(store, 'c1')).toEqual(['1:1', '3']);
  });

  it.each([true, false])(
    'of a connected client that acknowledges nothing has a limit for what is stored or unsent (stored: %s)',
    async (isStored) => {
      const { store } = await openStore({ limits: { queuedMessages: 1, queuedBytes: 10_000 } });
      if (isStored) putSessions(store, 'c1');
      const queue = store.queueOf('c1', { isStored });
      const send = (id: number) => {
        const isQueued = store.enqueue([receiver('c1', { isConnected: true })], message('x'.repeat(900))).length === 1;
        if (isQueued) void queue.assignPacketId(queue.nextUnsent() as never, id);
        return isQueued;
      };
      let sent = 0;
      while (sent < 100 && send(sent + 1)) sent += 1;
      expect([sent, queue.size, store.counters().dropped]).toEqual([100, 100, 0]);
      const withPayload = queue.inFlight().filter(({ message: { payload } }) => payload.length > 0);
      expect(withPayload).toHaveLength(isStored ? 1 : 0); // The rest is in memory only, and is never sent again.
      store.enqueue([receiver('c1', { isConnected: true })], message('a'));
      store.enqueue([receiver('c1', { isConnected: true })], message('b'));
      expect([String(queue.nextUnsent()?.message.payload), store.counters().dropped]).toEqual(['b', 1]);
    },
  );
});

describe('a share of the memory pool', () => {
  it('that is used up refuses a message for a client that is away, and reports it', async () => {
    const { store } = await openStore({ limits: { storedBytes: 1 } });
    putSessions(store, 'c1', 'c2');
    const refusals: PoolRefusal[] = [];
    store.onRefused((refusal) => refusals.push(refusal));
    const large = 'x'.repeat(GUARANTEED_BYTES.queued / 2);
    expect(store.enqueue([receiver('c1')], message(large))).toEqual(['c1']);
    expect(store.enqueue([receiver('c1'), receiver('c2')], message(large))).toEqual(['c2']);
    expect(refusals).toMatchObject([{ kind: 'queued', owner: 'owner of c1' }]);
    expect(store.counters()).toMatchObject({ dropped: 1, queued: { refused: 1 } });
  });

  it('counts properties, and is free again when the message is acknowledged', async () => {
    const { store } = await openStore({ limits: { storedBytes: 1 } });
    putSessions(store, 'c1');
    const properties = { contentType: 'x'.repeat(GUARANTEED_BYTES.queued / 2) };
    const queue = store.queueOf('c1', { isStored: true });
    expect(store.enqueue([receiver('c1')], message('1', { properties }))).toEqual(['c1']);
    expect(store.enqueue([receiver('c1')], message('2', { properties }))).toEqual([]);
    expect(store.counters().storedBytes).toBeGreaterThan(GUARANTEED_BYTES.queued / 2);
    queue.assignPacketId(queue.nextUnsent() as never, 1);
    queue.acknowledge(1);
    expect(store.counters().storedBytes).toBe(0);
    expect(store.enqueue([receiver('c1')], message('2', { properties }))).toEqual(['c1']);
  });

  it('counts a message for many sessions once in all, and for each of their owners', async () => {
    const { store } = await openStore();
    putSessions(store, 'c1', 'c2', 'c3');
    store.enqueue([receiver('c1')], message('x'.repeat(1_000)));
    const one = store.counters().storedBytes;
    store.removeSession('c1');
    store.enqueue([receiver('c2'), receiver('c3')], message('x'.repeat(1_000)));
    expect(store.counters().storedBytes).toBeLessThan(one + 200);
  });

  it('that is used up keeps no message from a connected client, which loses it only by its disconnection', async () => {
    const { store, reopen } = await openStore({ limits: { storedBytes: 1 } });
    putSessions(store, 'c1');
    const large = 'x'.repeat(GUARANTEED_BYTES.queued / 2);
    const connected = receiver('c1', { isConnected: true });
    store.enqueue([connected], message(large));
    expect(store.enqueue([connected], message('y'.repeat(large.length)))).toEqual(['c1']);
    const { commits } = store.counters();
    const queue = store.queueOf('c1', { isStored: true });
    expect(queue.size).toBe(2);
    queue.assignPacketId(queue.nextUnsent() as never, 1);
    const inMemory = queue.nextUnsent();
    expect(String(inMemory?.message.payload)).toMatch(/^y+$/);
    expect(queue.assignPacketId(inMemory as never, 2)).toBeUndefined();
    store.setAway('c1', START);
    expect([queue.size, store.counters().dropped, commits]).toEqual([1, 1, 0]);
    expect(drain((await reopen()).store, 'c1')).toEqual([`1:${large}`]);
  });
});

describe('a queue in memory only', () => {
  it('has the same limits, writes nothing, and ends with its session', async () => {
    const { store, reopen } = await openStore({ limits: { queuedMessages: 2, storedBytes: 1 } });
    const queue = store.queueOf('c1', { isStored: false });
    const connected = receiver('c1', { isConnected: true });
    for (const text of ['1', '2', '3']) expect(store.enqueue([connected], message(text, { qos: 2 }))).toEqual(['c1']);
    expect(String(queue.nextUnsent()?.message.payload)).toBe('2');
    expect(queue.assignPacketId(queue.nextUnsent() as never, 1)).toBeUndefined();
    await queue.release(1);
    store.putIncoming('c1', 1, undefined, { isStored: false });
    await store.durable();
    expect(store.counters()).toMatchObject({ storedBytes: 0, commits: 0, dropped: 1 });
    store.setAway('c1', START);
    store.removeSession('c1');
    await store.durable();
    expect(store.counters().commits).toBe(0);
    expect([store.incomingCount('c1'), store.queueOf('c1', { isStored: false }).size]).toEqual([0, 0]);
    expect(drain((await reopen()).store, 'c1')).toEqual([]);
  });

  it('does not refer to the received chunk', async () => {
    const { store } = await openStore();
    const chunk = Buffer.from('.payload.');
    store.queueOf('c1', { isStored: false });
    store.enqueue([receiver('c1', { isConnected: true })], message('', { payload: chunk.subarray(1, 8) }));
    chunk.fill('!');
    expect(String(store.queueOf('c1', { isStored: false }).nextUnsent()?.message.payload)).toBe('payload');
  });

  it('ends when its client gets a stored session, whose queue is on disk', async () => {
    const { store, reopen } = await openStore();
    store.queueOf('c1', { isStored: false });
    store.enqueue([receiver('c1', { isConnected: true })], message('1'));
    putSessions(store, 'c1');
    store.enqueue([receiver('c1')], message('2'));
    expect(drain((await reopen()).store, 'c1')).toEqual(['2']);
  });

  it('copies a message once for all clients, also when it is queued for one after the other', async () => {
    const { store } = await openStore();
    const same = message('1');
    for (const id of ['c1', 'c2']) store.enqueue([receiver(id, { isConnected: true })], same);
    const [first, second] = ['c1', 'c2'].map((id) => store.queueOf(id, { isStored: false }).nextUnsent()?.message);
    expect(first).toBe(second);
    expect(first?.payload).not.toBe(same.payload);
  });

  it('is what a client gets that has no stored session', async () => {
    const { store } = await openStore();
    expect(store.enqueue([receiver('c1', { isConnected: true })], message('1'))).toEqual(['c1']);
    await store.durable();
    expect(store.counters()).toMatchObject({ storedBytes: 0, commits: 0 });
  });
});

describe('a message in a queue', () => {
  it('is sent with the lower QoS of publication and subscription, and is not queued with QoS 0', async () => {
    const { store } = await openStore();
    putSessions(store, 'c1', 'c2', 'c3');
    const receivers = [receiver('c1', { qos: 1 }), receiver('c2'), receiver('c3', { qos: 0 })];
    expect(store.enqueue(receivers, message('1', { qos: 2 }))).toEqual(['c1', 'c2']);
    expect(store.enqueue(receivers, message('1', { qos: 0 }))).toEqual([]);
    expect(store.enqueue([receiver('c2')], message('1', { qos: 1 }))).toEqual(['c2']);
    expect(store.queueOf('c1', { isStored: true }).nextUnsent()?.qos).toBe(1);
    const second = store.queueOf('c2', { isStored: true });
    expect(second.nextUnsent()?.qos).toBe(2);
    second.drop(second.nextUnsent() as never);
    expect(second.nextUnsent()?.qos).toBe(1);
  });

  it('that has expired makes room for a new one before any other is dropped', async () => {
    const clock = { now: START };
    const { store } = await openStore({ limits: { queuedMessages: 2 }, now: () => clock.now });
    putSessions(store, 'c1');
    store.enqueue([receiver('c1')], message('1'));
    store.enqueue([receiver('c1')], message('2', { expiresAt: START + 10 }));
    clock.now = START + 10;
    store.enqueue([receiver('c1')], message('3'));
    expect(store.counters()).toMatchObject({ dropped: 0, expired: 1 });
    expect(drain(store, 'c1')).toEqual(['1', '3']);
  });

  it('that has expired is removed by the sweep, from memory and from disk, but not when it was sent', async () => {
    const { store, reopen } = await openStore({ now: () => START });
    putSessions(store, 'c1', 'c2');
    const expiresAt = START + 10;
    store.enqueue([receiver('c1')], message('1', { expiresAt }));
    const queue = store.queueOf('c1', { isStored: true });
    queue.assignPacketId(queue.nextUnsent() as never, 1);
    store.enqueue([receiver('c1'), receiver('c2')], message('2', { expiresAt }));
    store.enqueue([receiver('c1')], message('3', { expiresAt: expiresAt + 1 }));
    store.sweep(expiresAt - 1);
    expect(queue.size).toBe(3);
    store.sweep(expiresAt);
    expect([queue.size, store.counters().expired]).toEqual([2, 2]);
    const again = (await reopen()).store;
    expect([drain(again, 'c2'), drain(again, 'c1')]).toEqual([[], ['1:1', '3']]);
  });
});

describe('a connected client that does not acknowledge', () => {
  it.each([undefined, SHARE])('leaves no more bytes in memory than its queue may have (share %s)', async (share) => {
    const { store } = await openStore({ limits: { queuedBytes: 10_000 } });
    const queue = store.queueOf('c1', { isStored: false }) as MessageQueue;
    for (let id = 1; id <= 100; id += 1) {
      store.enqueue([receiver('c1', { share, isConnected: true })], message('x'.repeat(1_000)));
      queue.assignPacketId(queue.nextUnsent() as never, id);
    }
    expect([queue.size, queue.bytes <= 10_000]).toEqual([100, true]);
  });
});

describe('the messages of a shared subscription', () => {
  const shared = receiver('c1', { share: SHARE });

  it('are moved unless they are of QoS 2 and sent, and other messages stay', async () => {
    const { store, reopen } = await openStore();
    putSessions(store, 'c1', 'c2');
    const queue = store.queueOf('c1', { isStored: true });
    store.enqueue([shared], message('sent 1', { qos: 1 }));
    store.enqueue([shared], message('sent 2', { qos: 2 }));
    queue.assignPacketId(queue.nextUnsent() as never, 1);
    queue.assignPacketId(queue.nextUnsent() as never, 2);
    store.enqueue([receiver('c1')], message('own'));
    store.enqueue([shared], message('unsent 1', { qos: 1 }));
    store.enqueue([shared], message('unsent 2', { qos: 2 }));

    const moved = store.moveShared('c1', () => true);
    expect(moved.map((one) => String(one.message.payload))).toEqual(['sent 1', 'unsent 1', 'unsent 2']);
    expect(moved.every(({ share }) => share === SHARE)).toBe(true);
    expect(store.moveShared('c1', () => true)).toEqual([]);
    for (const one of moved) store.enqueue([receiver('c2', { share: SHARE })], one.message);

    const again = (await reopen()).store;
    expect(drain(again, 'c1')).toEqual(['2:sent 2', 'own']);
    expect(drain(again, 'c2')).toEqual(['sent 1', 'unsent 1', 'unsent 2']);
  });

  it('are moved from a queue in memory to a stored one', async () => {
    const { store, reopen } = await openStore();
    putSessions(store, 'c2');
    store.queueOf('c1', { isStored: false });
    store.enqueue([{ ...shared, isConnected: true }], message('1'));
    const [moved] = store.moveShared('c1', () => true);
    store.removeSession('c1');
    store.enqueue([receiver('c2', { share: SHARE })], moved?.message as never);
    expect(drain((await reopen()).store, 'c2')).toEqual(['1']);
  });

  it('stay in their place when no other member takes them', async () => {
    const { store } = await openStore();
    putSessions(store, 'c1');
    store.enqueue([shared], message('1'));
    store.enqueue([receiver('c1')], message('2'));
    store.enqueue([shared], message('3'));
    const moved = store.moveShared('c1', ({ message: { payload } }) => String(payload) === '3');
    expect(moved.map((one) => String(one.message.payload))).toEqual(['3']);
    expect(drain(store, 'c1')).toEqual(['1', '2']);
  });

  it('are none in a queue that does not exist', async () => {
    const { store } = await openStore();
    expect(store.moveShared('c1', () => true)).toEqual([]);
  });
});
