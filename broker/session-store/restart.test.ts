/** What was kept is there again after a restart: compared with what was in memory, for any course of events. */

import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openSessionStore } from './open-session-store.ts';
import type { SessionStore } from './session-store.ts';

const log = pino({ level: 'silent' });
const open = (file: string) => openSessionStore({ file, now: Date.now, log, limits: { queuedMessages: 4 } });
const broker = () => ({ id: 'b', counter: 0 });

const client = fc.constantFrom('c1', 'c2');
const filter = fc.constantFrom('a/b', 'a/+', '#');
const topic = fc.constantFrom('a/b', 'x', 'a/b/c');
const payload = fc.constantFrom('', '1', '22');
const qos = fc.constantFrom(0, 1, 2);
const messageId = fc.integer({ min: 1, max: 3 });

const step = fc.oneof(
  fc.record({ do: fc.constant('keep' as const), client }),
  fc.record({ do: fc.constant('leave' as const), client }),
  fc.record({ do: fc.constant('forget' as const), client }),
  fc.record({ do: fc.constant('subscribe' as const), client, filter, qos }),
  fc.record({ do: fc.constant('unsubscribe' as const), client, filter }),
  fc.record({ do: fc.constant('retain' as const), topic, payload, qos }),
  fc.record({ do: fc.constant('queue' as const), clients: fc.uniqueArray(client), topic, payload, qos }),
  fc.record({ do: fc.constant('number' as const), client, messageId }),
  fc.record({ do: fc.constant('release' as const), client, messageId }),
  fc.record({ do: fc.constant('acknowledge' as const), client, messageId }),
  fc.record({ do: fc.constant('receive' as const), client, messageId, isClean: fc.boolean() }),
  fc.record({ do: fc.constant('complete' as const), client, messageId }),
  fc.record({ do: fc.constant('will' as const), client, topic, payload, qos }),
  fc.record({ do: fc.constant('unwill' as const), client }),
  fc.record({ do: fc.constant('commit' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

const ignore = () => {};

async function take(store: SessionStore, one: Step): Promise<void> {
  const id = 'client' in one ? { id: one.client } : { id: '' };
  const bytes = 'payload' in one ? Buffer.from(one.payload) : Buffer.alloc(0);
  switch (one.do) {
    case 'keep':
      return store.putSession(one.client, `owner of ${one.client}`, '{}');
    case 'leave':
      return store.setAway(one.client, 5);
    case 'forget':
      return store.removeSession(one.client);
    case 'subscribe':
      return void store.addSubscriptions(id, [{ topic: one.filter, qos: one.qos }]).catch(ignore);
    case 'unsubscribe':
      return void store.removeSubscriptions(id, [one.filter]).catch(ignore);
    case 'retain':
      return void store.storeRetained({ topic: one.topic, payload: bytes, qos: one.qos }, 'o').catch(ignore);
    case 'queue': {
      const facts = store.broker as { counter: number };
      facts.counter += 1;
      const packet = { topic: one.topic, payload: bytes, qos: one.qos, brokerId: 'b', brokerCounter: facts.counter };
      const receivers = one.clients.map((clientId) => ({ clientId }));
      return void store.outgoingEnqueueCombi(receivers, packet).catch(ignore);
    }
    case 'number': {
      const [next] = await store.outgoingStream(id).toArray();
      if (next !== undefined && next.cmd === 'publish') {
        void store.outgoingUpdate(id, { ...next, messageId: one.messageId }).catch(ignore);
      }
      return;
    }
    case 'release':
      await take(store, { ...one, do: 'number' });
      return void store.outgoingUpdate(id, { cmd: 'pubrel', messageId: one.messageId } as never).catch(ignore);
    case 'acknowledge':
      await store.outgoingClearMessageId(id, { messageId: one.messageId } as never);
      return;
    case 'receive':
      return void store
        .incomingStorePacket(
          { ...id, clean: one.isClean },
          { topic: 't', payload: Buffer.from('p'), messageId: one.messageId },
        )
        .catch(ignore);
    case 'complete':
      return void store.incomingDelPacket(id, one).catch(ignore);
    case 'will':
      return void store.putWill(id, { topic: one.topic, payload: bytes, qos: one.qos }).catch(ignore);
    case 'unwill':
      await store.delWill(id);
      return;
    case 'commit':
      await store.durable();
  }
}

async function shown(store: SessionStore) {
  const all: Record<string, unknown> = {};
  for (const id of ['c1', 'c2']) {
    const queue = await store.outgoingStream({ id }).toArray();
    const incoming = [];
    for (const number of [1, 2, 3]) {
      incoming.push(await store.incomingGetPacket({ id }, { messageId: number }).then((found) => found.cmd, ignore));
    }
    const subscriptions = await store.subscriptionsByClient({ id });
    const will = await store.getWill({ id });
    all[id] = {
      queue: queue.map((one) => [
        one.cmd,
        one.messageId,
        ...(one.cmd === 'pubrel' ? [] : [one.topic, `${one.payload}`, one.qos]),
      ]),
      incoming,
      subscriptions: subscriptions.map((one) => `${one.topic} ${one.qos}`).sort(),
      will: will && [will.topic, `${will.payload}`, will.qos],
    };
  }
  const retained = await store.createRetainedStream('#').toArray();
  all.retained = retained.map((one) => [one.topic, `${one.payload}`, one.qos]).sort();
  all.owners = [...store.retainedOwners()].map((one) => `${one.topic} ${one.owner} ${one.bytes}`).sort();
  all.wanted = ['a/b', 'x', 'a/b/c'].map((one) => store.filters.hasMatch(one));
  all.count = [store.retainedCount, await store.countOffline(), store.counters().storedBytes];
  return all;
}

describe('after a restart', () => {
  it('everything is as it was, whatever was changed before', async () => {
    const directory = temporaryDirectory();
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        runs += 1;
        const file = join(directory, `${runs}.db`);
        const first = await open(file);
        await first.store.setup(broker());
        // What clean sessions sent halfway ends with them.
        const written = steps.filter((one) => one.do !== 'receive' || !one.isClean);
        for (const one of written) await take(first.store, one);
        const before = await shown(first.store);
        await first.close();
        const again = await open(file);
        const kept = again.store.storedSessions();
        await again.store.setup(broker());
        expect(await shown(again.store)).toEqual(before);
        await again.close();
        const sessions = new Map<string, number | undefined>();
        for (const one of steps) {
          if (one.do === 'keep') sessions.set(one.client, undefined);
          else if (one.do === 'leave' && sessions.has(one.client)) sessions.set(one.client, 5);
          else if (one.do === 'forget') sessions.delete(one.client);
        }
        expect(new Map(kept.map((one) => [one.clientId, one.awaySince]))).toEqual(sessions);
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  it('an unreleased QoS 2 message of a clean session is gone', async () => {
    const file = join(temporaryDirectory(), 'sessions.db');
    const first = await open(file);
    await first.store.setup(broker());
    const packet = { topic: 't', payload: Buffer.from('p'), messageId: 1 };
    await first.store.incomingStorePacket({ id: 'c1', clean: true }, packet);
    expect(first.store.counters().commits).toBe(0);
    await first.close();
    const again = await open(file);
    await expect(again.store.incomingGetPacket({ id: 'c1' }, packet)).rejects.toThrow('no such packet');
    await again.close();
  });
});
