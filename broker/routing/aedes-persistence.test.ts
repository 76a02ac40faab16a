/** What is kept between connections, asked directly: each rule by itself, since others stand behind it. */

import { join } from 'node:path';
import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DEFAULT, device } from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { Rights, type Subject } from '../access/acl.ts';
import { DEFAULT_LIMITS, topicLimits } from '../broker-limits.ts';
import { openSessionStore } from '../session-store/open-session-store.ts';
import { AedesPersistence } from './aedes-persistence.ts';

const own = 'devices/dev-1/commands/+/+';
/** One too many. */
const refused = 'devices/dev-1/commands/refused/+';
const foreign = 'devices/dev-2/commands/+/+';
const dev1 = { id: 'dev-1' };
const subject: Subject = { identity: device('dev-1'), group: DEFAULT, labels: {} };

async function start() {
  const sessions = await openSessionStore({
    file: join(temporaryDirectory(), 'sessions.db'),
    now: Date.now,
    log: pino({ level: 'silent' }),
  });
  onTestFinished(() => sessions.close());
  const filters = { has: (filter: string) => filter !== refused };
  const live = (clientId: string) => ({ owner: `device/${clientId}`, subject, isEnded: false, filters });
  const store = new AedesPersistence(sessions.store, DEFAULT_LIMITS, live, () => {});
  await store.setup({ id: 'broker', counter: 0 });
  const rights = new Rights(DEFAULT_DEVICE_POLICY, subject, topicLimits(DEFAULT_LIMITS));
  store.persistentSessions.clientConnected('dev-1', 'device/dev-1', subject, rights, false);
  return store;
}

const message = (topic: string, payload = 'x') => ({
  topic,
  payload: Buffer.from(payload),
  brokerId: 'broker',
  brokerCounter: 1,
});

/** Takes what waits out of the queue. */
function queued(store: AedesPersistence): string[] {
  const topics: string[] = [];
  for (let packet = store.nextUnsent('dev-1'); packet !== undefined; packet = store.nextUnsent('dev-1')) {
    topics.push(packet.topic);
    store.dropUnsent('dev-1', packet);
  }
  return topics;
}

describe('the session store', () => {
  it('does not store a filter that its owner may not have', async () => {
    const store = await start();
    await store.addSubscriptions(dev1, [
      { topic: own, qos: 1 },
      { topic: foreign, qos: 1 },
      { topic: '#', qos: 1 },
      { topic: refused, qos: 1 },
    ]);
    expect(await store.subscriptionsByClient(dev1)).toEqual([expect.objectContaining({ topic: own })]);
  });

  it('stores nothing for a client that it does not know', async () => {
    const store = await start();
    await store.addSubscriptions({ id: 'dev-2' }, [{ topic: foreign, qos: 1 }]);
    expect(await store.subscriptionsByClient({ id: 'dev-2' })).toEqual([]);
  });

  it('queues only what may be received, and once however many filters match', async () => {
    const store = await start();
    const to = { qos: 1, clientId: 'dev-1' };
    await store.outgoingEnqueueCombi([{ topic: foreign, ...to }], message('devices/dev-2/commands/a/1'));
    await store.outgoingEnqueueCombi(
      [
        { topic: own, ...to },
        { topic: 'devices/dev-1/commands/a/+', ...to },
      ],
      message('devices/dev-1/commands/a/1'),
    );
    await store.outgoingEnqueueCombi(
      [{ topic: own, qos: 1, clientId: 'stranger' }],
      message('devices/dev-1/commands/a/2'),
    );
    expect(queued(store)).toEqual(['devices/dev-1/commands/a/1']);
  });

  it('removes no other message for one that was never sent', async () => {
    const store = await start();
    await store.outgoingEnqueueCombi(
      [{ topic: own, qos: 1, clientId: 'dev-1' }],
      message('devices/dev-1/commands/a/1'),
    );
    await store.outgoingClearMessageId(dev1, message('devices/dev-1/commands/a/2'));
    expect(queued(store)).toEqual(['devices/dev-1/commands/a/1']);
  });

  it('bounds what is retained by topics and bytes, and gives room back', async () => {
    const store = await start();
    const topic = 'devices/dev-1/twin/reported';
    const may = (at: string, bytes: number) =>
      store.mayRetain({ topic: at, payload: Buffer.alloc(bytes) }, 'device/dev-1');
    expect(may(topic, DEFAULT_LIMITS.queuedBytes + 1)).toBe(false);
    await store.storeRetained({ topic, payload: Buffer.alloc(DEFAULT_LIMITS.queuedBytes), clientId: 'dev-1' });
    expect(may('devices/dev-1/events/a', 1)).toBe(false);
    expect(may(topic, DEFAULT_LIMITS.queuedBytes)).toBe(true);
    await store.storeRetained({ topic, payload: Buffer.alloc(0), clientId: 'dev-1' });
    expect(store.retainedCount).toBe(0);
    expect(may('devices/dev-1/events/a', 1)).toBe(true);
  });

  it('retains nothing whose author is not known', async () => {
    const store = await start();
    await store.storeRetained({ topic: 'a', payload: Buffer.from('x') });
    expect(store.retainedCount).toBe(0);
  });
});
