import { describe, expect, it } from 'vitest';
import { message, openStore } from '../../test/fixtures/broker/stored-messages.ts';
import { GUARANTEED_BYTES } from './memory-pool.ts';
import type { SessionStore } from './session-store.ts';

const START = Date.UTC(2026, 0, 1);
const topics = (store: SessionStore, filter: string) => [...store.retainedMatching(filter)].map(({ topic }) => topic);

describe('retained messages', () => {
  it('have their properties, in order, and their publisher after a restart', async () => {
    const { store, reopen } = await openStore();
    const properties = {
      payloadFormatIndicator: 1 as const,
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from([0, 255, 10]),
      userProperties: [
        ['b', '1'],
        ['a', '2'],
        ['b', ''],
      ] as const,
    };
    const retained = message('1', { properties, retain: true, clientId: 'c9', expiresAt: Date.now() + 1_000_000 });
    expect(store.retain(retained, 'o')).toBe(true);
    const [found] = [...(await reopen()).store.retainedMatching('a/b')];
    expect(found).toEqual({ ...retained, number: found?.number });
    expect(found?.properties?.userProperties).toEqual(properties.userProperties);
  });

  it('are not found when they have expired, and the sweep removes them and names their topics', async () => {
    const clock = { now: START };
    const { store, reopen } = await openStore({ now: () => clock.now });
    store.retain(message('1', { topic: 'a/b/1', expiresAt: START + 10 }), 'o');
    store.retain(message('1', { topic: 'a/b/2', expiresAt: START + 20 }), 'o');
    store.retain(message('1', { topic: 'c' }), 'o');
    expect(topics(store, '#')).toEqual(['a/b/1', 'a/b/2', 'c']);
    clock.now = START + 10;
    expect([topics(store, '#'), topics(store, 'a/b/1'), topics(store, 'a/b/2')]).toEqual([
      ['a/b/2', 'c'],
      [],
      ['a/b/2'],
    ]);
    expect(store.retainedCount).toBe(3);
    expect(store.sweep(clock.now)).toEqual(['a/b/1']);
    expect(store.sweep(clock.now)).toEqual([]);
    expect(store.retainedCount).toBe(2);
    expect(store.sweep(START + 20)).toEqual(['a/b/2']);
    expect(topics((await reopen()).store, '#')).toEqual(['c']);
  });

  it('count their properties in the share of their owner, which a replaced message gives back', async () => {
    const { store } = await openStore({ limits: { storedBytes: 1 } });
    const properties = { responseTopic: 'x'.repeat(GUARANTEED_BYTES.retained / 2) };
    expect(store.retain(message('1', { topic: 't/1', properties }), 'o')).toBe(true);
    expect(store.mayRetain('t/2', GUARANTEED_BYTES.retained / 2, 'o')).toBe(false);
    expect(store.retain(message('1', { topic: 't/2', properties }), 'o')).toBe(false);
    expect(store.retain(message('2', { topic: 't/1', properties }), 'o')).toBe(true);
    store.recordRefusedRetain('t/2', 1, 'o');
    expect(store.counters().retained.refused).toBe(2);
    expect([...store.retainedOwners()]).toEqual([
      { topic: 't/1', owner: 'o', bytes: GUARANTEED_BYTES.retained / 2 + 1 },
    ]);
  });

  it('are removed by an empty payload, from disk as well', async () => {
    const { store, reopen } = await openStore();
    store.retain(message('1'), 'o');
    await store.durable();
    expect(store.retain(message(''), 'o')).toBe(true);
    expect([store.retainedCount, store.counters().storedBytes]).toEqual([0, 0]);
    expect((await reopen()).store.retainedCount).toBe(0);
  });
});
