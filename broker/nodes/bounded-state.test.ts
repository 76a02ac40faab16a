/** What a node has of a message is gone with its acknowledgement. */

import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, expect, it } from 'vitest';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes that are reachable. */
function held(): number {
  collect();
  collect();
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

it('a node forgets messages of a stored queue when they are acknowledged, while the session goes on', async () => {
  testBroker = await TestBroker.start({ nodes: 2 });
  const client = await testBroker.session(testBroker.enroll(device('dev-1')), { clientId: 'dev-1', clean: false }, 1);
  await client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
  const send = async (count: number) => {
    for (let n = 0; n < count; n += 1) {
      const payload = Buffer.alloc(20_000, n);
      await testBroker.broker.send({ topic: 'devices/dev-1/commands/a/1', payload, qos: 1 });
      const packet = await client.nextOf('publish');
      if (packet === undefined) throw new Error('expected a message');
      client.acknowledge(packet);
    }
    await client.settled();
    client.packets.fill({ cmd: 'pingreq' }); // What the test itself has received.
  };
  await send(30);
  const before = held();
  await send(150);
  expect(held() - before).toBeLessThan(1_500_000); // of 3,000,000 bytes
});
