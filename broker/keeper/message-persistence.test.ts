/** For whom a message is stored before it is acknowledged, and when that is refused. Statement numbers are those of MQTT 5. */

import { beforeEach, describe, expect, it } from 'vitest';
import { claim, rightsWithout } from '../../test/fixtures/broker/session-claims.ts';
import {
  drain,
  message,
  type OpenedStore,
  openStore,
  subscription,
} from '../../test/fixtures/broker/stored-messages.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import type { Message } from '../mqtt/message.ts';
import type { SessionStoreOptions } from '../session-store/open-session-store.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import { MessagePersistence, type PersistOptions } from './message-persistence.ts';
import { PersistentSessions } from './persistent-sessions.ts';
import { NoRoomError, type SessionClaim } from './sessions.ts';
import type { ShareChoice } from './shared-subscriptions.ts';

const HOUR = 3_600_000;
const PLAIN: PersistOptions = { owner: 'service/s', shares: undefined, isInJournal: false };

let opened: OpenedStore;
let sessions: PersistentSessions;
let persistence: MessagePersistence;
let exceeded: string[];

beforeEach(() => open());

async function open(options: Partial<SessionStoreOptions> = {}, limits: Partial<typeof DEFAULT_LIMITS> = {}) {
  opened = await openStore(options);
  start(limits);
}

function start(limits: Partial<typeof DEFAULT_LIMITS> = {}): void {
  const { store } = opened;
  exceeded = [];
  sessions = new PersistentSessions({ store, longestExpiry: HOUR, now: Date.now });
  persistence = new MessagePersistence({
    store,
    sessions,
    limits: { ...DEFAULT_LIMITS, ...limits },
    limitExceeded: (owner, bytes) => exceeded.push(`${owner} ${bytes}`),
  });
}

/** A persistent session whose client is away. */
async function away(
  clientId: string,
  subscriptions: readonly StoredSubscription[],
  changes: Partial<SessionClaim> = {},
): Promise<void> {
  await connected(clientId, subscriptions, changes);
  await sessions.release(clientId, 3_600);
}

async function connected(
  clientId: string,
  subscriptions: readonly StoredSubscription[],
  changes: Partial<SessionClaim> = {},
): Promise<void> {
  await sessions.claim(claim(clientId, changes));
  opened.store.putSubscriptions(
    clientId,
    subscriptions.map((one) => ({ ...one, clientId })),
  );
}

/** Resolves when the message is stored. */
async function persist(changes: Partial<Message> = {}, options: Partial<PersistOptions> = {}): Promise<void> {
  await persistence.persist(message('x', changes), { ...PLAIN, ...options });
}

function first(clientId: string) {
  return opened.store.queueOf(clientId, { isStored: true }).nextUnsent();
}

function choice(clientId: string, member: Partial<ShareChoice['member']> = {}): ShareChoice {
  const answers = { isConnected: () => false, mayReceive: () => true, isBehind: () => false };
  const options = { qos: 2, subscriptionIdentifier: undefined, retainAsPublished: false } as const;
  return { share: '$share/g/a/+', member: { clientId, ...options, ...answers, ...member }, isQueued: false };
}

const retained = () => [...opened.store.retainedMatching('#')].map(({ topic, payload }) => `${topic} ${payload}`);

describe('the receivers of a message', () => {
  it('are the persistent sessions with a subscription that matches, each once, with the highest QoS', async () => {
    await away('c1', [subscription('a/b', { qos: 1 }), subscription('a/+', { qos: 2 }), subscription('b', { qos: 2 })]);
    await away('c2', [subscription('a/b', { qos: 1 })]);
    await away('c3', [subscription('b', { qos: 1 })]);
    await away('c4', [subscription('a/b', { qos: 0 })]);
    await persist({ qos: 2 });
    expect([first('c1')?.qos, first('c2')?.qos]).toEqual([2, 1]);
    expect(['c1', 'c2', 'c3', 'c4'].map((id) => drain(opened.store, id))).toEqual([['x'], ['x'], [], []]);
  });

  it('get no message with more than its own QoS, and none of QoS 0', async () => {
    await away('c1', [subscription('a/b', { qos: 2 })]);
    expect(persistence.persist(message('x', { qos: 0 }), PLAIN)).toBeUndefined();
    await persist({ qos: 1 });
    expect(first('c1')?.qos).toBe(1);
    expect(drain(opened.store, 'c1')).toEqual(['x']);
  });

  it('get all Subscription Identifiers, and RETAIN if one subscription has Retain As Published', async () => {
    const published = { qos: 0, retainAsPublished: true, subscriptionIdentifier: 5 } as const;
    await away('c1', [subscription('a/b', { subscriptionIdentifier: 3 }), subscription('a/+', published)]);
    await away('c2', [subscription('a/b')]);
    await persist({ retain: true });
    expect(first('c1')).toMatchObject({ subscriptionIdentifiers: [3, 5], retain: true });
    expect(first('c2')).toMatchObject({ subscriptionIdentifiers: undefined, retain: false });
  });

  it('are not those that may not receive it', async () => {
    await away('c1', [subscription('a/b')], { rights: rightsWithout('a/b') });
    await away('c2', [subscription('a/b')]);
    await persist();
    expect([drain(opened.store, 'c1'), drain(opened.store, 'c2')]).toEqual([[], ['x']]);
  });

  it('do not include its publisher by a subscription with No Local [MQTT-3.8.3-3]', async () => {
    await connected('c1', [subscription('a/b', { noLocal: true, qos: 2 }), subscription('a/+', { qos: 1 })]);
    await connected('c2', [subscription('a/b', { noLocal: true })]);
    await persist({ clientId: 'c1', qos: 2 });
    expect([first('c1')?.qos, first('c2')?.qos]).toEqual([1, 1]);
    await persist({ clientId: 'c2', qos: 2 });
    expect(drain(opened.store, 'c2')).toEqual(['x']);
  });

  it('have it on disk when the promise resolves', async () => {
    await away('c1', [subscription('a/b')]);
    await persist();
    const { store } = await opened.reopen();
    expect(drain(store, 'c1')).toEqual(['x']);
  });
});

describe('nothing', () => {
  it('is stored of a message that is not retained and that no persistent session receives', () => {
    expect(persistence.persist(message('x', { qos: 2 }), PLAIN)).toBeUndefined();
    expect(persistence.persist(message('x'), { ...PLAIN, shares: [] })).toBeUndefined();
  });

  it('but what has to be stored together with it', async () => {
    const calls: string[] = [];
    await persist({}, { together: () => calls.push('together') });
    expect(calls).toEqual(['together']);
  });
});

describe('the member of a shared subscription', () => {
  it('that was chosen gets the message with the options of its subscription', async () => {
    await away('c1', []);
    await away('c2', []);
    const chosen = choice('c1', { qos: 1, subscriptionIdentifier: 4, retainAsPublished: true });
    await persist({ qos: 2, retain: true }, { shares: [chosen] });
    expect(first('c1')).toMatchObject({ qos: 1, retain: true, subscriptionIdentifiers: [4], share: '$share/g/a/+' });
    expect([chosen.isQueued, drain(opened.store, 'c2')]).toEqual([true, []]);
  });

  it('gets it a second time by a subscription of its own (MQTT 5, 4.8.2)', async () => {
    await away('c1', [subscription('a/b')]);
    await persist({}, { shares: [choice('c1')] });
    expect(drain(opened.store, 'c1')).toEqual(['x', 'x']);
  });

  it('without a persistent session, or with QoS 0, is not queued for', () => {
    expect(persistence.persist(message('x'), { ...PLAIN, shares: [choice('live')] })).toBeUndefined();
    expect(persistence.persist(message('x'), { ...PLAIN, shares: [choice('c1', { qos: 0 })] })).toBeUndefined();
  });

  it('that takes over the message of another is queued for', async () => {
    await away('c1', []);
    persistence.enqueueShared(message('x'), choice('c1', { qos: 1 }));
    persistence.enqueueShared(message('y'), choice('live'));
    expect(drain(opened.store, 'c1')).toEqual(['x']);
  });
});

describe('a message for which there is no room', () => {
  beforeEach(() => open({ limits: { queuedMessages: 10, queuedBytes: 10, storedBytes: 1_000_000 } }));
  const large = { payload: Buffer.alloc(11) };

  it('is refused if only sessions that are away would get it, and nothing is stored together with it', async () => {
    await away('c1', [subscription('a/b')]);
    const calls: string[] = [];
    await expect(persist(large, { together: () => calls.push('together') })).rejects.toBeInstanceOf(NoRoomError);
    expect(calls).toEqual([]);
  });

  it('is accepted if it is in the journal, or retained', async () => {
    await away('c1', [subscription('a/b')]);
    await persist(large, { isInJournal: true });
    await persist({ ...large, retain: true });
    expect([drain(opened.store, 'c1'), retained().length]).toEqual([[], 1]);
  });

  it('is accepted if one session gets it, or one receiver is connected', async () => {
    await away('c1', [subscription('a/b')]);
    await connected('c2', [subscription('a/b')]);
    await persist(large);
    expect(drain(opened.store, 'c1')).toEqual([]);
  });

  it('leaves the choice of a shared subscription as not queued', async () => {
    await away('c1', []);
    const chosen = choice('c1');
    await expect(persist(large, { shares: [chosen] })).rejects.toBeInstanceOf(NoRoomError);
    expect(chosen.isQueued).toBe(false);
  });
});

describe('a retained message', () => {
  it('belongs to its publisher, and replaces the one of the topic with its owner', async () => {
    await persist({ retain: true, payload: Buffer.from('1') }, { owner: 'device/a' });
    await persist({ retain: true, payload: Buffer.from('2') }, { owner: 'device/b' });
    expect([retained(), [...persistence.owners()]]).toEqual([['a/b 2'], ['device/b']]);
    persistence.purge('device/a');
    expect(retained()).toEqual(['a/b 2']);
    persistence.purge('device/b');
    expect([retained(), [...persistence.owners()]]).toEqual([[], []]);
  });

  it('is removed by an empty payload [MQTT-3.3.1-6, MQTT-3.3.1-7]', async () => {
    await persist({ retain: true, qos: 0 });
    expect(retained()).toEqual(['a/b x']);
    await persist({ retain: true, qos: 0, payload: Buffer.alloc(0) });
    expect([retained(), [...persistence.owners()]]).toEqual([[], []]);
  });

  it('has its owner after a restart', async () => {
    await persist({ retain: true }, { owner: 'device/a' });
    opened = await opened.reopen();
    start();
    expect([...persistence.owners()]).toEqual(['device/a']);
    persistence.purge('device/a');
    expect(retained()).toEqual([]);
  });

  it('is limited in number and bytes per owner, and a refusal is reported', async () => {
    start({ retained: 2, queuedBytes: 100 });
    for (const topic of ['a', 'b']) await persist({ topic, retain: true }, { owner: 'device/a' });
    expect(persistence.mayRetain('c', 1, 'device/a')).toBe(false);
    expect(persistence.mayRetain('b', 1, 'device/a')).toBe(true);
    expect(persistence.mayRetain('c', 0, 'device/a')).toBe(true); // it removes one
    expect(persistence.mayRetain('c', 101, 'device/b')).toBe(false);
    expect(exceeded).toEqual(['device/a 1', 'device/b 101']);
  });

  it('that expired makes room for its owner', async () => {
    start({ retained: 1 });
    await persist({ topic: 'a', retain: true, expiresAt: Date.now() - 1 }, { owner: 'device/a' });
    expect(persistence.mayRetain('b', 1, 'device/a')).toBe(false);
    persistence.sweep(Date.now());
    expect([persistence.mayRetain('b', 1, 'device/a'), [...persistence.owners()]]).toEqual([true, []]);
  });
});
