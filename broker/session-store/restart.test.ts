/** After a restart or a kill the store contains what it contained before, whatever was changed. */

import { join } from 'node:path';
import type { MessageProperties } from '@rollcall/protocol';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import {
  drain,
  message,
  openStore,
  putSessions,
  receiver,
  subscription,
} from '../../test/fixtures/broker/stored-messages.ts';
import { writeUntilKilled } from '../../test/fixtures/killed-writer.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { SESSION_STORE_LIMITS } from './open-session-store.ts';
import type { OutgoingQueue } from './outgoing-queue.ts';
import { createChangeWriter } from './session-changes.ts';
import { createSessionCommits, SESSION_COMMIT_LIMITS, type SessionCommits } from './session-commits.ts';
import { migrateSessionFile } from './session-migrations.ts';
import { readSessionRows } from './session-rows.ts';
import { SessionStore } from './session-store.ts';

const LATER = Date.UTC(2100, 0, 1);

const clientId = fc.constantFrom('c1', 'c2');
const filter = fc.constantFrom('a/b', 'a/+', '#', '$share/g/a/b');
const topic = fc.constantFrom('a/b', 'x', 'a/b/c');
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const);
const packetId = fc.integer({ min: 1, max: 3 });
const properties = fc.constantFrom<MessageProperties | undefined>(undefined, {
  contentType: 'text/plain',
  correlationData: Buffer.from([0, 255]),
  userProperties: [
    ['b', '1'],
    ['a', '2'],
  ],
});
const content = fc.record({
  topic,
  payload: fc.constantFrom('', '1', '22').map((text) => Buffer.from(text)),
  qos,
  retain: fc.boolean(),
  properties,
  expiresAt: fc.constantFrom(undefined, LATER),
  clientId: fc.constantFrom(undefined, 'c3'),
});
const delivery = fc.record({
  qos,
  retain: fc.boolean(),
  subscriptionIdentifiers: fc.constantFrom(undefined, [1, 268_435_455]),
  share: fc.constantFrom(undefined, '$share/g/a/b'),
});

const step = fc.oneof(
  fc.record({ change: fc.constant('putSession' as const), clientId, expiry: fc.constantFrom(5, 0xffffffff) }),
  fc.record({ change: fc.constant('setExpiry' as const), clientId, expiry: fc.constantFrom(7, 0) }),
  fc.record({ change: fc.constant('setAway' as const), clientId, since: fc.constantFrom(undefined, 5) }),
  fc.record({ change: fc.constant('removeSession' as const), clientId }),
  fc.record({
    change: fc.constant('subscribe' as const),
    clientId,
    filter,
    qos,
    noLocal: fc.boolean(),
    retainAsPublished: fc.boolean(),
    retainHandling: qos,
    subscriptionIdentifier: fc.constantFrom(undefined, 1),
  }),
  fc.record({ change: fc.constant('unsubscribe' as const), clientId, filter }),
  fc.record({ change: fc.constant('retain' as const), content }),
  fc.record({ change: fc.constant('enqueue' as const), clients: fc.uniqueArray(clientId), content, delivery }),
  fc.record({ change: fc.constant('send' as const), clientId, packetId }),
  fc.record({ change: fc.constant('release' as const), clientId, packetId }),
  fc.record({ change: fc.constant('acknowledge' as const), clientId, packetId }),
  fc.record({ change: fc.constant('drop' as const), clientId }),
  fc.record({ change: fc.constant('moveShared' as const), clientId }),
  fc.record({ change: fc.constant('receive' as const), clientId, packetId, key: fc.constantFrom(undefined, 'k') }),
  fc.record({ change: fc.constant('complete' as const), clientId, packetId }),
  fc.record({ change: fc.constant('putWill' as const), clientId, content, delayInterval: fc.constantFrom(0, 30) }),
  fc.record({ change: fc.constant('setWillDue' as const), clientId, dueAt: fc.constantFrom(undefined, 99) }),
  fc.record({ change: fc.constant('removeWill' as const), clientId }),
  fc.record({ change: fc.constant('durable' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

async function apply(store: SessionStore, one: Step): Promise<void> {
  switch (one.change) {
    case 'putSession':
      store.putSession(one.clientId, `owner of ${one.clientId}`, '{}', one.expiry);
      break;
    case 'setExpiry':
      store.setExpiry(one.clientId, one.expiry);
      break;
    case 'setAway':
      store.setAway(one.clientId, one.since);
      break;
    case 'removeSession':
      store.removeSession(one.clientId);
      break;
    case 'subscribe': {
      const { change: _, ...options } = one;
      store.putSubscriptions(one.clientId, [subscription(one.filter, options)]);
      break;
    }
    case 'unsubscribe':
      store.removeSubscriptions(one.clientId, [one.filter]);
      break;
    case 'retain':
      store.retain(message('', one.content), 'o');
      break;
    case 'enqueue':
      store.enqueue(
        one.clients.map((client) => receiver(client, one.delivery)),
        message('', one.content),
      );
      break;
    case 'receive':
      store.putIncoming(one.clientId, one.packetId, one.key, { isStored: true });
      break;
    case 'complete':
      store.removeIncoming(one.clientId, one.packetId);
      break;
    case 'putWill': {
      const { expiresAt, clientId: _, ...content } = one.content;
      store.putWill(one.clientId, {
        ...content,
        messageExpiryInterval: expiresAt === undefined ? undefined : 60,
        delayInterval: one.delayInterval,
        about: '{}',
        dueAt: undefined,
      });
      break;
    }
    case 'setWillDue':
      store.setWillDue(one.clientId, one.dueAt);
      break;
    case 'removeWill':
      store.removeWill(one.clientId);
      break;
    case 'durable':
      await store.durable();
      break;
    default:
      changeQueue(store, store.queueOf(one.clientId, { isStored: true }), one);
  }
}

function changeQueue(
  store: SessionStore,
  queue: OutgoingQueue,
  one: Step & { readonly change: 'send' | 'release' | 'acknowledge' | 'drop' | 'moveShared' },
): void {
  const next = queue.nextUnsent();
  if (one.change === 'send') {
    if (next !== undefined && !queue.hasPacketId(one.packetId)) void queue.assignPacketId(next, one.packetId);
  } else if (one.change === 'release') void queue.release(one.packetId);
  else if (one.change === 'acknowledge') queue.acknowledge(one.packetId);
  else if (one.change === 'moveShared') store.moveShared(one.clientId, () => true);
  else if (next !== undefined) queue.drop(next);
}

/** A store that writes to a database in this thread, so that many can be compared. */
function storeOver(database: Database.Database) {
  const write = createChangeWriter(database);
  const commits: SessionCommits = createSessionCommits({
    limits: { ...SESSION_COMMIT_LIMITS, window: 0, idleWindow: 0 },
    now: Date.now,
    log: pino({ level: 'silent' }),
    beforeCommit: () => store.pushDeferred(),
    write: async (changes) => write(changes),
  });
  const limits = { ...SESSION_STORE_LIMITS, queuedMessages: 4 };
  const store: SessionStore = new SessionStore(limits, commits, readSessionRows(database), Date.now, () => 0);
  return { store, commits };
}

/** Everything in a store except message numbers, which are of one run. Empties its queues. */
function contentOf(store: SessionStore) {
  const counters = { ...store.counters(), commits: 0, waitingBytes: 0, dropped: 0 };
  const clients = ['c1', 'c2'].map((id) => {
    const queue = store.queueOf(id, { isStored: true });
    const queued = queue.inFlight().map(shown);
    for (let next = queue.nextUnsent(); next !== undefined; next = queue.nextUnsent()) {
      queued.push(shown(next));
      queue.drop(next);
    }
    const incoming = [1, 2, 3].map((number) => store.incoming(id, number));
    const subscriptions = [...store.subscriptionsOf(id)].sort((a, b) => (a.filter < b.filter ? -1 : 1));
    return { queued, incoming, subscriptions };
  });
  return {
    clients,
    counters,
    wills: new Map(store.wills()),
    retained: [...store.retainedMatching('#')].map((one) => ({ ...one, number: 0, retain: true })).sort(byTopic),
    owners: [...store.retainedOwners()].sort(byTopic),
    matching: ['a/b', 'x', 'a/b/c'].map((one) => store.filters.matching(one).length),
  };
}

function shown(queued: NonNullable<ReturnType<OutgoingQueue['nextUnsent']>>) {
  const { message: content, qos, retain, subscriptionIdentifiers, share, packetId, isReleased } = queued;
  return { ...content, number: 0, delivery: { qos, retain, subscriptionIdentifiers, share, packetId, isReleased } };
}

function byTopic(a: { readonly topic: string }, b: { readonly topic: string }): number {
  return a.topic < b.topic ? -1 : 1;
}

describe('after a restart', () => {
  it('the store contains what it contained before, whatever was changed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const database = new Database(':memory:');
        migrateSessionFile(database);
        const first = storeOver(database);
        putSessions(first.store, 'c1', 'c2');
        const sessions = new Map<string, object>();
        for (const id of ['c1', 'c2']) sessions.set(id, { expiry: 0xffffffff, awaySince: undefined });
        for (const one of steps) {
          await apply(first.store, one);
          if (one.change === 'removeSession') sessions.delete(one.clientId);
          else if (one.change === 'putSession')
            sessions.set(one.clientId, { expiry: one.expiry, awaySince: undefined });
          else if (one.change === 'setExpiry' && sessions.has(one.clientId)) {
            sessions.set(one.clientId, { ...sessions.get(one.clientId), expiry: one.expiry });
          } else if (one.change === 'setAway' && sessions.has(one.clientId)) {
            sessions.set(one.clientId, { ...sessions.get(one.clientId), awaySince: one.since });
          }
        }
        // Messages for clients without a stored session are in memory only.
        for (const id of ['c1', 'c2']) if (!sessions.has(id)) first.store.removeSession(id);
        await first.commits.close();
        const again = storeOver(database);
        const stored = again.store.storedSessions();
        expect(new Map(stored.map((one) => [one.clientId, { expiry: one.expiry, awaySince: one.awaySince }]))).toEqual(
          sessions,
        );
        expect(contentOf(again.store)).toEqual(contentOf(first.store));
        await again.commits.close();
        database.close();
      }),
      { numRuns: 300 },
    );
  });

  it('messages are sent in the order in which they were queued, under the identifiers that they had', async () => {
    const { store, reopen } = await openStore();
    putSessions(store, 'c1');
    const queue = store.queueOf('c1', { isStored: true });
    for (let n = 1; n <= 6; n += 1) store.enqueue([receiver('c1')], message(String(n), { qos: n % 2 === 0 ? 2 : 1 }));
    for (const id of [9, 7, 8]) void queue.assignPacketId(queue.nextUnsent() as never, id);
    void queue.release(7);
    queue.acknowledge(9);
    expect(drain((await reopen()).store, 'c1')).toEqual(['7:PUBREL', '8:3', '4', '5', '6']);
  });

  it('messages of an earlier run have numbers that grow and differ from those of this run', async () => {
    const { store, file, close } = await openStore();
    putSessions(store, 'c1');
    for (const text of ['1', '2']) store.enqueue([receiver('c1')], message(text));
    store.retain(message('3'), 'o');
    await close();
    let last = 10;
    const numberOf = () => {
      last += 1;
      return last;
    };
    const again = (await openStore({ file, numberOf })).store;
    const queue = again.queueOf('c1', { isStored: true });
    expect(queue.nextUnsent()?.message.number).toBe(11);
    expect([...again.retainedMatching('#')][0]?.number).toBe(13);
  });

  it('the key of a QoS 2 message that is not in the journal yet is the same, and a completed one needs none', async () => {
    const { store, reopen } = await openStore();
    store.putIncoming('c1', 1, 'key-1', { isStored: true });
    store.putIncoming('c1', 2, 'key-2', { isStored: true });
    store.putIncoming('c1', 2, undefined, { isStored: true });
    store.putIncoming('c1', 3, 'key-3', { isStored: true });
    expect(store.removeIncoming('c1', 3)).toBe(true);
    expect(store.removeIncoming('c1', 3)).toBe(false);
    const again = (await reopen()).store;
    expect([1, 2, 3].map((id) => again.incoming('c1', id))).toEqual([{ key: 'key-1' }, { key: undefined }, undefined]);
    expect(again.incomingCount('c1')).toBe(2);
    again.clearIncoming('c1');
    expect(again.incomingCount('c1')).toBe(0);
  });

  it('sessions of an earlier run are returned once', async () => {
    const { store, reopen } = await openStore();
    store.putSession('c1', 'o', '{"x":1}', 60, 5);
    const again = (await reopen()).store;
    expect(again.storedSessions()).toEqual([
      { clientId: 'c1', owner: 'o', about: '{"x":1}', expiry: 60, awaySince: 5 },
    ]);
    expect(again.storedSessions()).toEqual([]);
  });
});

it('a kill loses no message and no packet identifier that was reported as durable', async () => {
  const file = join(temporaryDirectory(), 'sessions.db');
  const reported = await writeUntilKilled('session-writer.ts', [file], 300);
  const { store } = await openStore({ file });
  const queue = store.queueOf('c1', { isStored: true });
  const sent = queue.inFlight().map(({ packetId: id, message: { payload } }) => `${payload} sent as ${id}`);
  const found = drain(store, 'c1').map((text) => text.replace(/^\d+:/, ''));
  const queued = reported.filter((line) => line.endsWith(' queued')).map((line) => line.split(' ')[0]);
  expect(reported.length).toBeGreaterThanOrEqual(300);
  expect(found).toEqual(expect.arrayContaining(queued));
  expect(sent).toEqual(expect.arrayContaining(reported.filter((line) => line.includes('sent as'))));
  expect(found).toEqual([...found].sort((a, b) => Number(a) - Number(b)));
  expect(store.incoming('c1', 1)?.key).toMatch(/^key-\d+$/);
});
