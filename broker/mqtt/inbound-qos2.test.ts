/** Packet identifiers of received QoS 2 messages: each message once, and none taken for another. */

import { beforeEach, describe, expect, it } from 'vitest';
import { claim } from '../../test/fixtures/broker/session-claims.ts';
import { type OpenedStore, openStore } from '../../test/fixtures/broker/stored-messages.ts';
import { PersistentSessions } from '../keeper/persistent-sessions.ts';
import type { SessionClaim } from '../keeper/sessions.ts';
import type { Session } from '../sessions/session.ts';
import { InboundQos2 } from './inbound-qos2.ts';

const HOUR = 3_600_000;

let opened: OpenedStore;
let sessions: PersistentSessions;
let inbound: InboundQos2;
/** The connected sessions that are not stored. */
let live: Map<string, Session>;

beforeEach(async () => {
  live = new Map();
  opened = await openStore();
  start();
});

function start(): void {
  const { store } = opened;
  sessions = new PersistentSessions({ store, longestExpiry: HOUR, now: Date.now });
  inbound = new InboundQos2(store, (session) =>
    session.isStored
      ? sessions.epochOf(session.facts.clientId) === session.claimEpoch
      : live.get(session.facts.clientId) === session,
  );
}

/** The next connection of client `c1`. */
async function connect(changes: Partial<SessionClaim> = {}): Promise<Session> {
  const { isStored, epoch } = await sessions.claim(claim('c1', changes));
  const session = { isStored, claimEpoch: epoch, facts: { clientId: 'c1' } } as Session;
  if (isStored) live.delete('c1');
  else live.set('c1', session);
  return session;
}

const inMemory = { sessionExpiryInterval: 0 };

describe('a received QoS 2 message', () => {
  it.each([['stored', {}] as const, ['in memory', inMemory] as const])(
    'is known from its first PUBLISH to its PUBREL [MQTT-4.3.3-2]: session %s',
    async (_, changes) => {
      const session = await connect(changes);
      expect([inbound.isInUse(session, 4), inbound.isReceived(session, 4)]).toEqual([false, false]);
      const key = await inbound.reserveKey(session, 4);
      expect([inbound.isInUse(session, 4), inbound.isReceived(session, 4)]).toEqual([true, false]);
      expect(await inbound.reserveKey(session, 4)).toBe(key);
      inbound.markReceived(session, 4);
      expect([inbound.isInUse(session, 4), inbound.isReceived(session, 4)]).toEqual([true, true]);
      expect(inbound.release(session, 4)).toBe(true);
      expect([inbound.isInUse(session, 4), inbound.release(session, 4)]).toEqual([false, false]);
      expect(await inbound.reserveKey(session, 4)).not.toBe(key);
    },
  );

  it('has a key that no other message has', async () => {
    const session = await connect();
    const keys = await Promise.all([4, 5, 6].map((id) => inbound.reserveKey(session, id)));
    expect(new Set(keys).size).toBe(3);
    for (const key of keys) expect(key).toMatch(/^\/.+/);
  });

  it('is the same message on the next connection of its session', async () => {
    const first = await connect();
    const key = await inbound.reserveKey(first, 4);
    const second = await connect();
    expect(second.claimEpoch).toBe(first.claimEpoch);
    expect(await inbound.reserveKey(second, 4)).toBe(key);
    inbound.markReceived(first, 4); // the journal has answered late
    expect(inbound.isReceived(second, 4)).toBe(true);
  });

  it('is the same message after a restart, with its key or its mark', async () => {
    const session = await connect();
    const key = await inbound.reserveKey(session, 4);
    inbound.markReceived(session, 5);
    await inbound.durable(session);
    opened = await opened.reopen();
    start();
    await sessions.load(async () => claim('c1').rights);
    const again = await connect();
    expect([inbound.isReceived(again, 4), inbound.isReceived(again, 5)]).toEqual([false, true]);
    expect(await inbound.reserveKey(again, 4)).toBe(key);
  });

  it('of a session in memory is not on disk', async () => {
    const session = await connect(inMemory);
    await inbound.reserveKey(session, 4);
    inbound.markReceived(session, 4);
    const { commits } = opened.store.counters();
    await inbound.durable(session);
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
    await inbound.reserveKey(old, 4);
    if (!old.isStored) opened.store.removeSession('c1');
    const current = await connect(next);
    inbound.markReceived(old, 4);
    expect([inbound.isInUse(current, 4), inbound.isReceived(current, 4)]).toEqual([false, false]);
  });

  it.each(discarded)('releases nothing of the next session: %s', async (_, first, next) => {
    const old = await connect(first);
    if (!old.isStored) opened.store.removeSession('c1');
    const current = await connect(next);
    inbound.markReceived(current, 4);
    expect([inbound.release(old, 4), inbound.isReceived(current, 4)]).toEqual([false, true]);
  });

  it.each(discarded)('reserves no key in the next session: %s', async (_, first, next) => {
    const old = await connect(first);
    if (!old.isStored) opened.store.removeSession('c1');
    const current = await connect(next);
    const late = await inbound.reserveKey(old, 4);
    expect(inbound.isInUse(current, 4)).toBe(false);
    const key = await inbound.reserveKey(current, 4);
    expect(key).not.toBe(late);
    expect(await inbound.reserveKey(old, 4)).not.toBe(key);
  });
});

describe('the limit of unreleased messages', () => {
  it('allows identifiers that are in use, and others as they are released', async () => {
    const session = await connect();
    for (const id of [1, 2]) inbound.markReceived(session, id);
    expect([1, 2, 3].map((id) => inbound.hasRoom(session, id, 2))).toEqual([true, true, false]);
    inbound.release(session, 1);
    expect(inbound.hasRoom(session, 3, 2)).toBe(true);
  });

  it('holds over all connections of a session', async () => {
    for (const id of [1, 2]) inbound.markReceived(await connect(), id);
    expect(inbound.hasRoom(await connect(), 3, 2)).toBe(false);
    expect(inbound.hasRoom(await connect({ cleanStart: true }), 3, 2)).toBe(true);
  });
});
