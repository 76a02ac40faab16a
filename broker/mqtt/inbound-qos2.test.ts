/** Packet identifiers of received QoS 2 messages: each message once, and none taken for another. */

import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import { claim } from '../../test/fixtures/broker/session-claims.ts';
import { type OpenedStore, openStore } from '../../test/fixtures/broker/stored-messages.ts';
import { EmbeddedSessions } from '../keeper/embedded-sessions.ts';
import { PersistentSessions } from '../keeper/persistent-sessions.ts';
import type { ClaimedSession, SessionClaim } from '../keeper/sessions.ts';
import { ShareDirectory } from '../keeper/share-directory.ts';
import { Wills } from '../keeper/wills.ts';
import { hasRoomForQos2, isQos2InUse, isQos2Received, reserveQos2Key } from './inbound-qos2.ts';

const HOUR = 3_600_000;

let opened: OpenedStore;
let sessions: EmbeddedSessions;
let persistentSessions: PersistentSessions;

beforeEach(async () => {
  opened = await openStore();
  start();
});

function start(): void {
  const { store } = opened;
  persistentSessions = new PersistentSessions({ store, longestExpiry: HOUR, now: Date.now });
  const shares = new ShareDirectory({
    store,
    persistentSessions,
    connected: { find: () => undefined },
    queuedMessages: 1,
  });
  const wills = new Wills({ store, gracePeriod: 0, now: Date.now, log: pino({ enabled: false }), ...noWills });
  const unused = {} as never;
  sessions = new EmbeddedSessions({
    ...{ store, persistentSessions, shares, wills },
    ...{ persistence: unused, redelivery: unused, nextNumber: unused, nextSequence: () => 1 },
  });
}

const noWills = { sessionExpiryOf: () => undefined, publish: async () => {} };

/** The next connection of client `c1`. */
function connect(changes: Partial<SessionClaim> = {}): Promise<ClaimedSession> {
  return sessions.claim(claim('c1', changes));
}

const markReceived = ({ record }: ClaimedSession, packetId: number) => record.incoming.put(packetId, undefined);
const release = ({ record }: ClaimedSession, packetId: number) => record.incoming.remove(packetId);

const inMemory = { sessionExpiryInterval: 0 };

describe('a received QoS 2 message', () => {
  it.each([['stored', {}] as const, ['in memory', inMemory] as const])(
    'is known from its first PUBLISH to its PUBREL [MQTT-4.3.3-2]: session %s',
    async (_, changes) => {
      const session = await connect(changes);
      expect([isQos2InUse(session, 4), isQos2Received(session, 4)]).toEqual([false, false]);
      const key = await reserveQos2Key(session, 4);
      expect([isQos2InUse(session, 4), isQos2Received(session, 4)]).toEqual([true, false]);
      expect(await reserveQos2Key(session, 4)).toBe(key);
      markReceived(session, 4);
      expect([isQos2InUse(session, 4), isQos2Received(session, 4)]).toEqual([true, true]);
      expect(release(session, 4)).toBe(true);
      expect([isQos2InUse(session, 4), release(session, 4)]).toEqual([false, false]);
      expect(await reserveQos2Key(session, 4)).not.toBe(key);
    },
  );

  it('has a key that no other message has', async () => {
    const session = await connect();
    const keys = await Promise.all([4, 5, 6].map((id) => reserveQos2Key(session, id)));
    expect(new Set(keys).size).toBe(3);
    for (const key of keys) expect(key).toMatch(/^\/.+/);
  });

  it('is the same message on the next connection of its session', async () => {
    const first = await connect();
    const key = await reserveQos2Key(first, 4);
    const second = await connect();
    expect(await reserveQos2Key(second, 4)).toBe(key);
    markReceived(first, 4); // the journal has answered late
    expect(isQos2Received(second, 4)).toBe(true);
  });

  it('is the same message after a restart, with its key or its mark', async () => {
    const session = await connect();
    const key = await reserveQos2Key(session, 4);
    markReceived(session, 5);
    await session.record.durable();
    opened = await opened.reopen();
    start();
    await persistentSessions.load(async () => claim('c1').rights);
    const again = await connect();
    expect([isQos2Received(again, 4), isQos2Received(again, 5)]).toEqual([false, true]);
    expect(await reserveQos2Key(again, 4)).toBe(key);
  });

  it('of a session in memory is not on disk', async () => {
    const session = await connect(inMemory);
    await reserveQos2Key(session, 4);
    markReceived(session, 4);
    const { commits } = opened.store.counters();
    await session.record.durable();
    expect(opened.store.counters().commits).toBe(commits);
  });
});

describe('a connection whose session was discarded', () => {
  const discarded = [
    ['stored', {}, { cleanStart: true }],
    ['stored, before one in memory', {}, { cleanStart: true, ...inMemory }],
    ['in memory', inMemory, inMemory],
    ['stored, of another owner', {}, { owner: 'another' }],
  ] as const;

  it.each(discarded)('marks nothing in the next session: %s', async (_, first, next) => {
    const old = await connect(first);
    await reserveQos2Key(old, 4);
    if (!old.isStored) opened.store.removeSession('c1');
    const current = await connect(next);
    markReceived(old, 4);
    expect([isQos2InUse(current, 4), isQos2Received(current, 4)]).toEqual([false, false]);
  });

  it.each(discarded)('releases nothing of the next session: %s', async (_, first, next) => {
    const old = await connect(first);
    if (!old.isStored) opened.store.removeSession('c1');
    const current = await connect(next);
    markReceived(current, 4);
    expect([release(old, 4), isQos2Received(current, 4)]).toEqual([false, true]);
  });

  it.each(discarded)('reserves no key in the next session: %s', async (_, first, next) => {
    const old = await connect(first);
    if (!old.isStored) opened.store.removeSession('c1');
    const current = await connect(next);
    const late = await reserveQos2Key(old, 4);
    expect(isQos2InUse(current, 4)).toBe(false);
    const key = await reserveQos2Key(current, 4);
    expect(key).not.toBe(late);
    expect(await reserveQos2Key(old, 4)).not.toBe(key);
  });
});

describe('the limit of unreleased messages', () => {
  it('allows identifiers that are in use, and others as they are released', async () => {
    const session = await connect();
    for (const id of [1, 2]) markReceived(session, id);
    expect([1, 2, 3].map((id) => hasRoomForQos2(session, id, 2))).toEqual([true, true, false]);
    release(session, 1);
    expect(hasRoomForQos2(session, 3, 2)).toBe(true);
  });

  it('holds over all connections of a session', async () => {
    for (const id of [1, 2]) markReceived(await connect(), id);
    expect(hasRoomForQos2(await connect(), 3, 2)).toBe(false);
    expect(hasRoomForQos2(await connect({ cleanStart: true }), 3, 2)).toBe(true);
  });
});
