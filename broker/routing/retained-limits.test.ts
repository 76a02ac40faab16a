/** The limits of retained messages through the broker. */

import type { PolicyDocument } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { TestBroker } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const EVERYTHING: PolicyDocument = {
  connect: ['${service.name}'],
  publish: ['#'],
  subscribe: ['#'],
  receive: ['#'],
  retain: ['#'],
};

describe('a client that retains as many topics as it may', () => {
  it.each([
    [4, 0],
    [4, 1],
    [5, 0],
    [5, 1],
  ] as const)('can still remove any message that it may retain: version %d, QoS %d', async (version, qos) => {
    testBroker = await TestBroker.start({
      limits: { retained: 1 },
      policies: { 'service/a': EVERYTHING, 'service/b': EVERYTHING },
    });
    const [a, b] = [
      await testBroker.connectService('a', { protocolVersion: version }),
      await testBroker.connectService('b', { protocolVersion: version }),
    ];
    await a.publish('x', 'of a', { qos: 1, retain: true, messageId: 1 });
    await a.settled();
    await b.publish('y', 'of b', { qos: 1, retain: true, messageId: 1 });
    await b.settled();
    const topics = () => [...testBroker.sessions.store.retainedMatching('#')].map(({ topic }) => topic);
    expect(topics()).toEqual(['x', 'y']);
    await a.publish('y', '', { qos, retain: true, messageId: 2 });
    await a.settled();
    expect(topics()).toEqual(['x']);
    await a.publish('z', '', { qos, retain: true, messageId: 3 }); // there is none
    await a.publish('x', '', { qos, retain: true, messageId: 4 });
    await a.settled();
    expect([topics(), a.socket.closed]).toEqual([[], false]);
  });

  it('can also remove one by its will, whatever properties that has', async () => {
    const policies = { 'service/a': EVERYTHING, 'service/b': EVERYTHING };
    testBroker = await TestBroker.start({ limits: { retained: 1 }, policies });
    const b = await testBroker.connectService('b');
    await b.publish('y', 'of b', { qos: 1, retain: true, messageId: 1 });
    await b.settled();
    const will = { topic: 'y', payload: '', retain: true, properties: { contentType: 'text/plain' } };
    const a = await testBroker.connectService('a', { protocolVersion: 5, will });
    await a.publish('x', 'of a', { qos: 1, retain: true, messageId: 1 });
    await a.settled();
    const topics = () => [...testBroker.sessions.store.retainedMatching('#')].map(({ topic }) => topic);
    await b.subscribe('y');
    a.destroy();
    expect(await b.nextOf('publish')).toMatchObject({ topic: 'y', payload: Buffer.from('of b') });
    expect(await b.nextOf('publish')).toMatchObject({ topic: 'y', payload: Buffer.alloc(0) });
    expect(topics()).toEqual(['x']);
  });
});
