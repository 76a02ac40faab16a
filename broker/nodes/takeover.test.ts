/** A client id that is claimed on one node and then on another: one session survives, and its queue goes with it. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import { connectPacket, type RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start({ nodes: 2, ...options });
};
afterEach(() => testBroker?.close());

const commands = 'devices/dev-1/commands/+/+';
const command = 'devices/dev-1/commands/open/1';
const persistent = { clientId: 'dev-1', clean: false };

describe('a client id that connects to two nodes at once', () => {
  it('has exactly one session each of 200 times, and the keeper knows which', async () => {
    await start({ limits: { takeoversPerMinute: 0 } });
    const credentials = testBroker.enroll(device('dev-1'));
    const { broker, nodes } = testBroker;
    for (let round = 0; round < 200; round += 1) {
      const clients = await Promise.all([0, 1].map((node) => testBroker.open(credentials, undefined, node)));
      await Promise.all(clients.map((client) => client.connect({ ...persistent, clean: round % 2 === 0 })));
      await Promise.race(clients.map(({ closed }) => closed));
      const open = clients.filter(({ socket }) => !socket.closed);
      expect(open, `round ${round}`).toHaveLength(1);
      const [survivor] = open as [RawClient];
      expect(await survivor.subscribe(commands)).toEqual([0]);
      const holder = `n${clients.indexOf(survivor) + 1}`;
      expect(nodes.nodes().filter(({ sessions }) => sessions > 0)).toMatchObject([{ name: holder, sessions: 1 }]);
      expect(broker.sessions()).toHaveLength(1);
    }
  });

  it('takes over a session whose node has a newer connection of the client, without waiting for it', async () => {
    await start({ takeoverWithin: 600_000, limits: { takeoversPerMinute: 0 } });
    const credentials = testBroker.enroll(device('dev-1'));
    for (let round = 0; round < 20; round += 1) {
      const clients = await Promise.all([0, 1, 0, 1].map((node) => testBroker.open(credentials, undefined, node)));
      await Promise.all(clients.map((client) => client.connect(persistent)));
      const closed = clients.map((client) => client.closed);
      const left = new Set(clients);
      for (const [index, one] of closed.entries()) void one.then(() => left.delete(clients[index] as RawClient));
      while (left.size > 1) await Promise.race([...left].map((client) => client.closed));
      expect(testBroker.broker.sessions()).toHaveLength(1);
    }
  });
});

describe('a session that goes from one node to another', () => {
  it('is not ended for a connection that was closed while its claim waited', async () => {
    await start({ nodes: 3 });
    const { broker, nodes } = testBroker;
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, persistent, 0);
    const held = nodes.channels[0]?.hold('takeOver', { isDone: false });
    const second = await testBroker.open(credentials, undefined, 1);
    const connecting = second.connect(persistent);
    await waitUntil(() => held?.inputs.length === 1);
    const told = vi.spyOn(nodes.channels[2] as (typeof nodes.channels)[0], 'tell');
    const dying = await testBroker.open(credentials, undefined, 2);
    dying.send(connectPacket(persistent));
    await waitUntil(() => nodes.parts[2]?.counters().sessions === 1);
    dying.socket.destroy();
    await waitUntil(() => told.mock.calls.some(([name]) => name === 'giveUpClaim'));
    held?.release();
    await first.closed;
    expect(await connecting).toBe(0);
    await waitUntil(() => nodes.parts[2]?.counters().sessions === 0); // Its claim is decided.
    expect(await second.subscribe(commands)).toEqual([0]);
    expect(broker.counters()).toMatchObject({ takeovers: 1, sessions: 1 });
  });

  it('is ended on the first node, and reported once as taken over', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, persistent, 0);
    const second = await testBroker.session(credentials, persistent, 1);
    await first.closed;
    expect(second.connack?.sessionPresent).toBe(true);
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'session_taken_over' });
    expect(testBroker.broker.counters()).toMatchObject({ connected: 2, takeovers: 1, sessions: 1 });
  });

  it('counts once toward the sessions of its identity', async () => {
    await start({ limits: { sessionsPerIdentity: 1 } });
    const credentials = testBroker.enroll(device('dev-1'));
    for (const node of [0, 1, 0, 1]) await testBroker.session(credentials, persistent, node);
    expect(testBroker.broker.sessions()).toHaveLength(1);
  });

  it('is refused when the client id was taken over too often, and the session continues', async () => {
    await start({ limits: { takeoversPerMinute: 2 } });
    const credentials = testBroker.enroll(device('dev-1'));
    for (const node of [0, 1, 0]) await testBroker.session(credentials, persistent, node);
    const refused = await testBroker.open(credentials, undefined, 1);
    expect(await refused.connect(persistent)).not.toBe(0);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'takeover_limited' });
    expect(testBroker.nodes.nodes()).toMatchObject([{ sessions: 1 }, { sessions: 0 }]);
  });

  it('receives what was queued for it in order, and nothing twice', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, persistent, 0);
    await first.subscribe({ topic: commands, qos: 1 });
    const commander = await testBroker.connectService('commander');
    let sent = 0;
    const send = async (count: number) => {
      for (let n = 0; n < count; n += 1) {
        sent += 1;
        await commander.publish(command, String(sent), { qos: 1, messageId: sent });
        await commander.nextOf('puback');
      }
    };
    const received: string[] = [];
    await send(20);
    let client = first;
    for (const node of [1, 0, 1]) {
      // It acknowledges five, and leaves.
      for (let n = 0; n < 5; n += 1) {
        const packet = await client.nextOf('publish');
        if (packet === undefined) throw new Error('expected a message');
        received.push(String(packet.payload));
        client.acknowledge(packet);
      }
      await client.settled();
      client = await testBroker.session(credentials, persistent, node);
      await send(3);
    }
    while (received.length < sent) {
      const packet = await client.nextOf('publish');
      if (packet === undefined) throw new Error('expected a message');
      received.push(String(packet.payload));
      client.acknowledge(packet);
    }
    expect(payloads(await client.settled())).toEqual([]);
    expect(received).toEqual(Array.from({ length: 29 }, (_, index) => String(index + 1)));
  });

  it('completes the QoS 2 handshakes that it has begun with both nodes', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, persistent, 0);
    await first.subscribe({ topic: commands, qos: 2 });
    const commander = await testBroker.connectService('commander', { clean: false });
    for (const [index, payload] of ['a', 'b', 'c'].entries()) {
      await commander.publish(command, payload, { qos: 2, messageId: index + 1 });
      await commander.nextOf('pubrec');
      commander.send({ cmd: 'pubrel', messageId: index + 1 });
      await commander.nextOf('pubcomp');
    }
    const [a, b, c] = [await first.nextOf('publish'), await first.nextOf('publish'), await first.nextOf('publish')];
    first.acknowledge(a as never);
    expect(await first.nextOf('pubrel')).toMatchObject({ messageId: a?.messageId });
    first.acknowledge(b as never);
    first.send({ cmd: 'pubcomp', messageId: a?.messageId as number });
    expect(await first.nextOf('pubrel')).toMatchObject({ messageId: b?.messageId });
    // One is complete, one is released, one was only sent.
    const second = await testBroker.session(credentials, persistent, 1);
    expect([await second.next(), await second.next()]).toMatchObject([
      { cmd: 'pubrel', messageId: b?.messageId },
      { cmd: 'publish', messageId: c?.messageId, dup: true, payload: Buffer.from('c') },
    ]);
    second.send({ cmd: 'pubcomp', messageId: b?.messageId as number });
    second.acknowledge(c as never);
    expect(await second.nextOf('pubrel')).toMatchObject({ messageId: c?.messageId });
    second.send({ cmd: 'pubcomp', messageId: c?.messageId as number });
    await second.settled();
    const third = await testBroker.session(credentials, persistent, 0);
    expect(await third.settled()).toEqual([]);
  });

  it('has a message of QoS 2 that it sends again on the other node delivered once', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/events/+', qos: 1 });
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, persistent, 0);
    await first.publish('devices/dev-1/events/door', 'open', { qos: 2, messageId: 9 });
    await first.nextOf('pubrec');
    const second = await testBroker.session(credentials, persistent, 1);
    await second.publish('devices/dev-1/events/door', 'open', { qos: 2, messageId: 9, dup: true });
    await second.nextOf('pubrec');
    second.send({ cmd: 'pubrel', messageId: 9 });
    await second.nextOf('pubcomp');
    expect(payloads(await listener.settled())).toEqual(['open']);
  });
});

describe('a node that does not answer', () => {
  it('loses the claim after the bound, and what it posts about it afterwards has no effect', async () => {
    await start({ takeoverWithin: 1 });
    const credentials = testBroker.enroll(device('dev-1'));
    const { nodes } = testBroker;
    const first = await testBroker.session(credentials, persistent, 0);
    await first.subscribe({ topic: commands, qos: 1 });
    const { sequence } = await testBroker.event('connected');
    const commander = await testBroker.connectService('commander');
    const takeOver = nodes.channels[0]?.hold('takeOver', { isDone: false });
    const second = await testBroker.session(credentials, persistent, 1);
    expect(second.connack?.sessionPresent).toBe(true);
    expect(takeOver?.inputs).toContainEqual({ clientId: 'dev-1', claim: sequence });
    expect(nodes.nodes()).toMatchObject([{ sessions: 0 }, {}]);
    await commander.publish(command, 'x', { qos: 1 });
    const message = await second.nextOf('publish');
    // The former owner: it posts as if it still had the session.
    const [former] = nodes.channels as [(typeof nodes.channels)[0]];
    const claim = sequence;
    for (let ref = 0; ref < 5; ref += 1) {
      former.tell('packetIdAssigned', { claim, ref, packetId: 77 });
      former.tell('entryReleased', { claim, ref });
      former.tell('entryRemoved', { claim, ref });
    }
    former.tell('incomingPut', { claim, packetId: 5, key: undefined });
    await expect(former.call('unsubscribe', { claim, filters: [commands] })).rejects.toMatchObject({
      code: 'unavailable',
    });
    await expect(former.call('durable', { claim })).rejects.toMatchObject({ code: 'unavailable' });
    await former.call('release', { claim, sessionExpiryInterval: 0, publishesWill: true, undelivered: [] });
    takeOver?.release();
    await first.closed;
    // The session has its subscription, the message and its packet identifier.
    const third = await testBroker.session(credentials, persistent, 0);
    expect(await third.next()).toMatchObject({ cmd: 'publish', messageId: message?.messageId, dup: true });
    await commander.publish(command, 'y', { qos: 1, messageId: 2 });
    expect(await third.nextOf('publish')).toMatchObject({ payload: Buffer.from('y') });
    // A QoS 2 message with the packet identifier that the former owner marked is a new one.
    await third.publish('devices/dev-1/telemetry/temp', 'z', { qos: 2, messageId: 5 });
    await third.nextOf('pubrec');
    expect(testBroker.accepted.map(({ payload }) => String(payload))).toEqual(['z']);
  });
});
