/** Members of shared subscriptions that come, go and fall behind, through mTLS. Cites MQTT 5. */

import type { PolicyDocument } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import { TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const EVERYTHING: PolicyDocument = {
  connect: ['${service.name}'],
  publish: ['#'],
  subscribe: ['#'],
  receive: ['#'],
  retain: ['#'],
};
const SHARE = '$share/workers/jobs/+';
const EXPIRY = 3_600;

async function start(options: TestBrokerOptions = {}): Promise<RawClient> {
  testBroker = await TestBroker.start({ ...options, policies: { 'service/*': EVERYTHING } });
  return testBroker.connectService('publisher');
}

interface MemberOptions {
  readonly clean?: boolean;
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
}

function connect(name: string, { clean = false, sessionExpiryInterval = EXPIRY, receiveMaximum }: MemberOptions = {}) {
  const properties = { sessionExpiryInterval, ...(receiveMaximum !== undefined && { receiveMaximum }) };
  return testBroker.connectService(name, { protocolVersion: 5, clean, properties });
}

async function join(name: string, options: MemberOptions = {}): Promise<RawClient> {
  const client = await connect(name, options);
  await client.subscribe({ topic: SHARE, qos: 1 });
  return client;
}

/** Resolves when the broker has released the session. */
async function leave(client: RawClient, clientId: string): Promise<void> {
  client.destroy();
  await testBroker.event('disconnected', (event) => event.clientId === clientId);
  await released();
}

async function released(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** Each is acknowledged before the next. */
async function publish(client: RawClient, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    await client.publish('jobs/x', text, { qos: 1 });
    await client.nextOf('puback');
  }
}

describe('a member of a shared subscription', () => {
  it('that begins a new session does not receive messages of the share that it was in before', async () => {
    const publisher = await start();
    await leave(await join('a'), 'a');
    const again = await connect('a', { clean: true });
    await publish(publisher, 'job');
    expect(payloads(await again.settled())).toEqual([]);
  });

  it('that ends its session while it is away leaves what waits for it to another member', async () => {
    const publisher = await start();
    await leave(await join('a'), 'a');
    await publish(publisher, 'waits');
    const other = await join('b');
    await connect('a', { clean: true });
    expect(payloads(await other.settled())).toEqual(['waits']);
  });

  it('that ends its session while all are away leaves what waits for it to another member', async () => {
    const publisher = await start();
    const members = { a: await join('a'), b: await join('b') };
    await leave(members.a, 'a');
    await leave(members.b, 'b');
    await publish(publisher, 'one', 'two');
    await connect('a', { clean: true });
    const other = await connect('b');
    expect(payloads(await other.settled()).sort()).toEqual(['one', 'two']);
  });

  it('leaves a message that it has by two shares to a member of each', async () => {
    const publisher = await start();
    const first = await connect('a');
    const [one, all] = ['$share/workers/jobs/x', '$share/workers/jobs/#'];
    await first.subscribe({ topic: one, qos: 1 }, { topic: all, qos: 1 });
    await leave(first, 'a');
    await publish(publisher, 'job');
    const others = [await connect('b'), await connect('c')] as const;
    await others[0].subscribe({ topic: one, qos: 1 });
    await others[1].subscribe({ topic: all, qos: 1 });
    await connect('a', { clean: true });
    expect([payloads(await others[0].settled()), payloads(await others[1].settled())]).toEqual([['job'], ['job']]);
  });

  it('whose session expires leaves what waits for it to another member', async () => {
    let now = Date.now();
    const publisher = await start({ now: () => now, limits: { sweepInterval: 5 } });
    await leave(await join('a', { sessionExpiryInterval: 60 }), 'a');
    await publish(publisher, 'waits');
    const other = await join('b');
    now += 61_000;
    expect(String((await other.nextOf('publish'))?.payload)).toBe('waits');
  });

  it('that does not acknowledge gets no more than its Receive Maximum while another one does', async () => {
    const publisher = await start();
    const slow = await join('slow', { receiveMaximum: 1 });
    const quick = await join('quick');
    const texts = Array.from({ length: 20 }, (_, index) => `job ${index}`);
    const work = (async () => {
      for (let done = 0; done < 19; done += 1) {
        const job = await quick.nextOf('publish');
        if (job !== undefined) quick.acknowledge(job);
      }
    })();
    await publish(publisher, ...texts);
    await work;
    expect(payloads(await slow.settled())).toHaveLength(1);
  });

  it('gets its unacknowledged message again with the same packet identifier while nobody else can take it [MQTT-4.4.0-1]', async () => {
    const publisher = await start();
    const first = await join('a');
    await publish(publisher, 'one');
    const sent = await first.nextOf('publish');
    await leave(first, 'a');
    const again = await connect('a');
    const repeated = await again.nextOf('publish');
    expect([repeated?.messageId, repeated?.dup, String(repeated?.payload)]).toEqual([sent?.messageId, true, 'one']);
  });

  it('leaves a message to another one when it goes before the message is stored', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const telemetry = '$share/workers/devices/+/telemetry/+';
    const members = await Promise.all(
      ['a', 'b'].map((name) => connect(name, { clean: true, sessionExpiryInterval: 0 })),
    );
    for (const member of members) await member.subscribe({ topic: telemetry, qos: 1 });
    const device = await testBroker.connectDevice('dev-1');
    await device.publish('devices/dev-1/telemetry/t', 'one', { qos: 1, messageId: 1 });
    await device.publish('devices/dev-1/telemetry/t', 'two', { qos: 1, messageId: 2 });
    await storage.count(2);
    const [left, stays] = members as [RawClient, RawClient];
    await leave(left, 'a');
    for (const { resolve } of storage.waiting) resolve();
    await device.settled();
    expect(payloads(await stays.settled()).sort()).toEqual(['one', 'two']);
  });
});
