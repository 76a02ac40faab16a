/** Claims on stored sessions without a connection: who gets what, for how long, and under which epoch. */

import { beforeEach, describe, expect, it } from 'vitest';
import { claim } from '../../test/fixtures/broker/session-claims.ts';
import {
  drain,
  message,
  type OpenedStore,
  openStore,
  receiver,
  subscription,
} from '../../test/fixtures/broker/stored-messages.ts';
import { NEVER_EXPIRES } from '../session-store/session-store.ts';
import { PersistentSessions } from './persistent-sessions.ts';

const LONGEST = 100_000;

let opened: OpenedStore;
let sessions: PersistentSessions;
let now: number;
let ended: string[];

beforeEach(async () => {
  now = Date.UTC(2026, 0, 1);
  opened = await openStore({ now: () => now });
  start();
});

function start(): void {
  ended = [];
  sessions = new PersistentSessions({ store: opened.store, longestExpiry: LONGEST, now: () => now });
  sessions.onEnding = (clientId) => ended.push(`ending ${clientId}`);
  sessions.onEnded = (clientId) => ended.push(`ended ${clientId}`);
}

/** The server ends and starts again. */
async function restart(): Promise<void> {
  await opened.store.durable();
  opened = await opened.reopen();
  start();
  await sessions.load(async () => claim('c1').rights);
}

/** Session `c1` with a subscription, a queued message and an unreleased one. */
async function session(sessionExpiryInterval = 50): Promise<void> {
  const { store } = opened;
  await sessions.claim(claim('c1', { sessionExpiryInterval }));
  store.putSubscriptions('c1', [subscription('a/b')]);
  store.enqueue([receiver('c1')], message('queued'));
  store.putIncoming('c1', 4, undefined, { isStored: true });
}

const left = () => ({
  subscriptions: opened.store.subscriptionsOf('c1').length,
  queued: drain(opened.store, 'c1'),
  incoming: opened.store.incomingCount('c1'),
});
const NOTHING = { subscriptions: 0, queued: [], incoming: 0 };
const EVERYTHING = { subscriptions: 1, queued: ['queued'], incoming: 1 };

describe('a claim', () => {
  it('of what is not there creates a session, or none if it ends with its connection', async () => {
    expect(await sessions.claim(claim('c1'))).toMatchObject({ isPresent: false, isStored: true, subscriptions: [] });
    const none = await sessions.claim(claim('c2', { sessionExpiryInterval: 0 }));
    expect(none).toEqual({ isPresent: false, isStored: false, subscriptions: [], epoch: 0 });
    expect([sessions.has('c1'), sessions.has('c2'), sessions.size]).toEqual([true, false, 1]);
  });

  it('resumes the session with everything in it, under the same epoch', async () => {
    await session();
    const epoch = sessions.epochOf('c1');
    await sessions.release('c1', 50);
    const claimed = await sessions.claim(claim('c1'));
    expect(claimed).toMatchObject({ isPresent: true, isStored: true, epoch, subscriptions: [{ filter: 'a/b' }] });
    expect([left(), ended]).toEqual([EVERYTHING, []]);
  });

  it.each([
    ['with Clean Start', { cleanStart: true }],
    ['of another owner', { owner: 'another' }],
  ] as const)('%s gets nothing of it, under another epoch', async (_, changes) => {
    await session();
    const epoch = sessions.epochOf('c1');
    await sessions.release('c1', 50);
    const claimed = await sessions.claim(claim('c1', changes));
    expect(claimed).toMatchObject({ isPresent: false, subscriptions: [] });
    expect(claimed.epoch).not.toBe(epoch);
    expect([left(), ended]).toEqual([NOTHING, ['ending c1']]);
    expect(sessions.ownerOf('c1')).toBe(claim('c1', changes).owner);
  });

  it('of another owner gets nothing of it either when its client is connected', async () => {
    await session();
    expect(await sessions.claim(claim('c1', { owner: 'another' }))).toMatchObject({ isPresent: false });
    expect(left()).toEqual(NOTHING);
    await restart();
    expect([sessions.ownerOf('c1'), left()]).toEqual(['another', NOTHING]);
  });

  it('that ends with its connection resumes a session, which ends with it', async () => {
    await session();
    await sessions.release('c1', 50);
    const claimed = await sessions.claim(claim('c1', { sessionExpiryInterval: 0 }));
    expect(claimed).toMatchObject({ isPresent: true, isStored: true });
    await sessions.release('c1', 0);
    expect([sessions.has('c1'), left(), ended]).toEqual([false, NOTHING, ['ending c1', 'ended c1']]);
  });
});

describe('the expiry of a session', () => {
  it.each([
    ['50 s', 50, 50_000],
    ['the limit of the server, if it is longer', NEVER_EXPIRES, LONGEST],
  ])('is %s after the end of the connection', async (_, expiry, milliseconds) => {
    await session(expiry);
    now += 10 * LONGEST; // it is connected
    sessions.sweep();
    await sessions.release('c1', expiry);
    now += milliseconds;
    sessions.sweep();
    expect(sessions.has('c1')).toBe(true);
    now += 1;
    sessions.sweep();
    expect([sessions.has('c1'), left(), ended]).toEqual([false, NOTHING, ['ending c1', 'ended c1']]);
  });

  it('holds for a claim before the next sweep', async () => {
    await session();
    await sessions.release('c1', 50);
    now += 50_001;
    expect(await sessions.claim(claim('c1'))).toMatchObject({ isPresent: false });
    expect(left()).toEqual(NOTHING);
  });

  it('is of each session, and what the last connection said, also after a restart', async () => {
    await session(50);
    await sessions.claim(claim('c2', { sessionExpiryInterval: 10 }));
    await sessions.release('c1', 20);
    await sessions.release('c2', 10);
    expect([sessions.expiryOf('c1'), sessions.expiryOf('c2')]).toEqual([20, 10]);
    await restart();
    now += 10_001;
    sessions.sweep();
    expect([...sessions.clientIds()]).toEqual(['c1']);
    now += 10_000;
    sessions.sweep();
    expect([...sessions.clientIds()]).toEqual([]);
  });

  it('counts from the start of the server for a client that was connected when it ended', async () => {
    await session(50);
    await opened.store.durable();
    now += 1_000_000;
    await restart();
    now += 50_000;
    sessions.sweep();
    expect(sessions.has('c1')).toBe(true);
    now += 1;
    sessions.sweep();
    expect(sessions.has('c1')).toBe(false);
  });
});

describe('release()', () => {
  it('with 0 ends the session, also on disk', async () => {
    await session();
    await sessions.release('c1', 0);
    expect([sessions.has('c1'), left(), ended]).toEqual([false, NOTHING, ['ending c1', 'ended c1']]);
    await restart();
    expect([sessions.size, left()]).toEqual([0, NOTHING]);
  });

  it('with more leaves it, as that of a client that is away', async () => {
    await session();
    expect(sessions.isConnected('c1')).toBe(true);
    await sessions.release('c1', 50);
    expect([sessions.isConnected('c1'), left()]).toEqual([false, EVERYTHING]);
  });

  it('of what is not there does nothing', async () => {
    await sessions.release('c1', 50);
    expect([sessions.size, ended]).toEqual([0, []]);
  });
});

describe('the sessions of an owner', () => {
  it('are removed together, with their queues', async () => {
    await session();
    await sessions.claim(claim('c2', { owner: 'owner of c1' }));
    await sessions.claim(claim('c3'));
    sessions.purge('owner of c1');
    expect([[...sessions.clientIds()], left(), [...sessions.owners()]]).toEqual([['c3'], NOTHING, ['owner of c3']]);
  });

  it('have the rights and the subject of now, also after a restart', async () => {
    await session();
    const subject = { ...claim('c1').subject, labels: { site: 'b' } };
    const rights = claim('c1').rights;
    for (const handle of sessions.handles()) handle.setRights(rights, subject);
    expect(sessions.rightsOf('c1')).toBe(rights);
    await restart();
    expect([...sessions.handles()].map((handle) => handle.subject)).toEqual([subject]);
  });
});
