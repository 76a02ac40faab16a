/** Several brokers over one PostgreSQL: who has a session, and what reaches it. */

import { expect, it } from 'vitest';
import { ClusterNode } from '../../test/fixtures/broker/cluster-brokers.ts';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import { device, service } from '../../test/fixtures/broker/test-broker.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

const topic = 'devices/dev-1/commands/now/1';
const subscription = { topic: 'devices/dev-1/commands/+/+', qos: 1 } as const;

/** Of two clients with one id, one after the other; other ids compete meanwhile. */
const ROUNDS = 10;
/** After so many rounds the one that is left moves to the other node. */
const MOVES = 4;

const payloads = (packets: readonly { readonly cmd: string; readonly payload?: unknown }[]) =>
  packets.filter(({ cmd }) => cmd === 'publish').map(({ payload }) => String(payload));

describeWithClients('brokers over one PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  async function start() {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a');
    const b = await ClusterNode.start(database, 'b', { like: a });
    return { database, a, b };
  }

  it('deliver messages to the sessions of each other', async () => {
    const { a, b } = await start();
    const reader = await a.test.connectDevice('dev-1');
    await reader.subscribe(subscription);
    await expect.poll(() => b.test.broker.reachability('dev-1', topic)).toBe('stored');
    const writer = await b.test.connectService('ops');
    await writer.publish(topic, 'hello', { qos: 1, messageId: 1 });
    await writer.publish(topic, 'again', { qos: 0 });
    await expect.poll(() => payloads(reader.packets)).toEqual(['hello', 'again']);
  });

  it('keep what comes for a session that is away, wherever its client connects next', async () => {
    const { a, b } = await start();
    const credentials = a.test.enroll(device('dev-1'));
    const first = await a.test.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe(subscription);
    first.destroy();
    await a.test.event('disconnected');
    const writer = await b.test.connectService('ops');
    for (let n = 1; n <= 3; n += 1) await writer.publish(topic, `m${n}`, { qos: 1, messageId: n });
    await writer.settled();
    const second = await b.test.session(credentials, { clientId: 'dev-1', clean: false });
    await expect.poll(() => payloads(second.packets)).toEqual(['m1', 'm2', 'm3']);
    expect(second.connack?.sessionPresent).toBe(true);
  });

  it('leave exactly one of two clients with one id that connect to both at once, 200 times', async () => {
    const { database, a, b } = await start();
    const compete = async (clientId: string) => {
      const credentials = a.test.enroll(device(clientId));
      const sessions = () =>
        [a, b].flatMap(({ test }) => test.broker.sessions()).filter((one) => one.clientId === clientId);
      for (let round = 0; round < ROUNDS; round += 1) {
        const clients = await Promise.all([a, b].map(({ test }) => test.open(credentials)));
        await Promise.all(clients.map((client) => client.connect({ clientId, clean: round % 2 === 0 })));
        await Promise.race(clients.map((client) => client.closed));
        await expect.poll(() => sessions().length).toBe(1);
        const left = clients.filter((client) => !client.socket.destroyed);
        expect(left).toHaveLength(1);
        // It is the one that has the session: its node answers.
        const received = left[0]?.packets.length;
        left[0]?.send({ cmd: 'pingreq' });
        await expect.poll(() => left[0]?.packets.length).toBeGreaterThan(received as number);
        if (round >= MOVES) continue;
        // It moves to the other node when its client connects there, and the claim moves with it.
        const [to] = [a, b].filter(({ test }) => !test.broker.sessions().some((one) => one.clientId === clientId));
        const moved = await (to as ClusterNode).test.session(credentials, { clientId, clean: round % 2 === 0 });
        await left[0]?.closed;
        expect(moved.socket.destroyed).toBe(false);
        const { rows } = await database.query('SELECT node FROM session_claims WHERE client_id = $1', [clientId]);
        expect(rows).toEqual([{ node: to?.name }]);
      }
    };
    await Promise.all(Array.from({ length: 200 / ROUNDS }, (_, n) => compete(`dev-${n}`)));
  });

  it('move the claim of a session that ends with its connection, and keep it while a later connection has it', async () => {
    const { database, a, b } = await start();
    const credentials = a.test.enroll(device('dev-1'));
    const owners = async () => (await database.query('SELECT node FROM session_claims')).rows;
    const options = { clientId: 'dev-1', clean: true };
    const first = await a.test.session(credentials, options);
    const second = await b.test.session(credentials, options);
    await first.closed;
    expect(await owners()).toEqual([{ node: 'b' }]);
    const third = await b.test.session(credentials, options);
    await second.closed;
    await b.cluster.commits.flush();
    expect(await owners()).toEqual([{ node: 'b' }]);
    third.destroy();
    await expect.poll(owners).toEqual([]);
  });

  it('give up the claim of a session without stored state only after its will is published', async () => {
    const database = await postgres().open();
    const storage = manualStorage();
    const a = await ClusterNode.start(database, 'a', { limits: { sweepInterval: 20 }, accept: storage.accept });
    const owners = async () => (await database.query('SELECT client_id FROM session_claims')).rows;
    const will = { topic: 'devices/dev-1/telemetry/state', payload: 'gone', qos: 1 } as const;
    const lost = await a.test.session(a.test.enroll(device('dev-1')), { clientId: 'dev-1', clean: true, will });
    lost.destroy();
    await storage.count(1);
    await a.cluster.commits.flush();
    expect(await owners()).toEqual([{ client_id: 'dev-1' }]);
    storage.waiting[0]?.resolve();
    await expect.poll(owners).toEqual([]);
  });

  it('give up the claim of a stored session that has ended', async () => {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a', { limits: { sweepInterval: 20 } });
    const owners = async () => (await database.query('SELECT client_id FROM session_claims')).rows;
    const ends = { properties: { sessionExpiryInterval: 100 }, protocolVersion: 5, clean: true } as const;
    const ending = await a.test.session(a.test.enroll(device('dev-1')), { clientId: 'dev-1', ...ends });
    await a.test.session(a.test.enroll(device('dev-2')), { clientId: 'dev-2', ...ends });
    expect(await owners()).toHaveLength(2);
    ending.disconnect({ properties: { sessionExpiryInterval: 0 } });
    await expect.poll(owners).toEqual([{ client_id: 'dev-2' }]);
  });

  it('give a session to another node only after what it has sent is stored', async () => {
    const { database, a, b } = await start();
    const credentials = a.test.enroll(device('dev-1'));
    const storing = Promise.withResolvers<void>();
    a.stored.promise = storing.promise;
    const first = await a.test.session(credentials, { clientId: 'dev-1' });
    const second = b.test.session(credentials, { clientId: 'dev-1' });
    await first.closed;
    const owners = async () => (await database.query('SELECT node FROM session_claims')).rows;
    await a.cluster.commits.flush();
    expect(await owners()).toEqual([{ node: 'a' }]);
    storing.resolve();
    await second;
    expect(await owners()).toEqual([{ node: 'b' }]);
  });

  it('deliver once what is sent to the former node of a session from its CONNACK on', async () => {
    const { a, b } = await start();
    const credentials = a.test.enroll(device('dev-1'));
    const writer = await a.test.connectService('ops');
    const first = await a.test.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe(subscription);
    const second = await b.test.session(credentials, { clientId: 'dev-1', clean: false });
    for (let n = 1; n <= 3; n += 1) await writer.publish(topic, `m${n}`, { qos: 1, messageId: n });
    await expect.poll(() => payloads(second.packets)).toEqual(['m1', 'm2', 'm3']);
    // By then the node has been told of the subscription, and has sent a message to both.
    await expect.poll(() => a.test.broker.reachability('dev-1', topic)).toBe('stored');
    await writer.publish(topic, 'm4', { qos: 1, messageId: 4 });
    await expect.poll(() => payloads(second.packets)).toEqual(['m1', 'm2', 'm3', 'm4']);
  });

  it('give up a claim that they do not know of', async () => {
    const { database, a, b } = await start();
    const credentials = a.test.enroll(device('dev-1'));
    await database.execute(`INSERT INTO session_claims VALUES ('dev-1', 'a', 1)`);
    await b.test.session(credentials, { clientId: 'dev-1' });
    expect((await database.query('SELECT node FROM session_claims')).rows).toEqual([{ node: 'b' }]);
  });

  it('give a message to one member of a shared subscription, wherever the members are', async () => {
    const { a, b } = await start();
    const readers = [await a.test.connectService('ops', { clientId: 'ops-1' })];
    const credentials = a.test.enroll(service('ops'));
    readers.push(await b.test.session(credentials, { clientId: 'ops-2' }));
    for (const reader of readers) await reader.subscribe({ topic: '$share/g/devices/+/events/+', qos: 1 });
    const writer = await b.test.session(a.test.enroll(device('dev-1')), { clientId: 'dev-1' });
    const sent = Array.from({ length: 10 }, (_, n) => `m${n}`);
    for (const [n, text] of sent.entries()) {
      await writer.publish('devices/dev-1/events/door', text, { qos: 1, messageId: n + 1 });
    }
    const received = () => readers.map(({ packets }) => payloads(packets));
    await expect.poll(() => received().flat().toSorted()).toEqual(sent);
    for (const own of received()) expect(own.length).toBeGreaterThan(0);
  });

  it('give what a member of a shared subscription has not acknowledged to a member on another node', async () => {
    const { a, b } = await start();
    const share = { topic: '$share/g/devices/+/events/+', qos: 1 } as const;
    const credentials = a.test.enroll(service('ops'));
    const leaving = await a.test.session(credentials, { clientId: 'ops-1' });
    await leaving.subscribe(share);
    const writer = await a.test.session(a.test.enroll(device('dev-1')), { clientId: 'dev-1' });
    await writer.publish('devices/dev-1/events/door', 'open', { qos: 1, messageId: 1 });
    expect(await leaving.nextOf('publish')).toMatchObject({ payload: Buffer.from('open') });
    const other = await b.test.session(credentials, { clientId: 'ops-2' });
    await other.subscribe(share);
    leaving.destroy();
    expect(await other.nextOf('publish')).toMatchObject({ payload: Buffer.from('open') });
  });

  it('send retained messages to subscribers of each other', async () => {
    const { a, b } = await start();
    await a.test.broker.retain(topic, Buffer.from('kept'));
    await expect.poll(() => b.test.broker.retained(topic)).toEqual(Buffer.from('kept'));
  });

  it('take over the sessions of a node that has lost its name, and refuse what it writes', async () => {
    const { a, b } = await start();
    const credentials = a.test.enroll(device('dev-1'));
    const old = await a.test.session(credentials, { clientId: 'dev-1', clean: false });
    await old.subscribe(subscription);
    const writer = await b.test.connectService('ops');
    await a.loseName();
    await expect.poll(() => b.cluster.nodes.find('a')?.isAlive).toBe(false);
    const fresh = await b.test.session(credentials, { clientId: 'dev-1', clean: false });
    expect(fresh.connack?.sessionPresent).toBe(true);
    await writer.publish(topic, 'after', { qos: 1, messageId: 1 });
    await expect.poll(() => payloads(fresh.packets)).toEqual(['after']);
    // The former node has still a connection, and cannot store anything for it.
    old.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 'devices/dev-1/twin/desired', qos: 1 }] });
    await writer.publish(topic, 'later', { qos: 1, messageId: 2 });
    await expect.poll(() => payloads(fresh.packets)).toEqual(['after', 'later']);
    expect(old.packets.filter(({ messageId }) => messageId === 9)).toEqual([]);
  });

  it('pass over fields of a newer release, and leave a message of an unknown kind to a node that knows it', async () => {
    const { database, a, b } = await start();
    const reader = await a.test.connectDevice('dev-1');
    await reader.subscribe(subscription);
    await expect.poll(() => b.test.broker.reachability('dev-1', topic)).toBe('stored');
    const message = { topic, qos: 1, retain: false, dup: false, properties: null, urgency: 7 };
    const known = { kind: 'message', message, owner: 'service/ops', ofNextRelease: { some: 'thing' } };
    const send = (number: number, about: unknown, payload: string) =>
      database.execute(`INSERT INTO node_messages VALUES ('a', 'next', $1, $2, $3)`, [
        ...[number, JSON.stringify(about), Buffer.from(payload)],
      ]);
    await send(1, known, 'hello');
    await expect.poll(() => payloads(reader.packets)).toEqual(['hello']);
    expect(a.outdated).toEqual([]);

    await send(2, known, 'second');
    await send(3, { kind: 'of the next release', clientId: 'dev-1' }, 'unknown');
    await send(4, known, 'later');
    await expect
      .poll(() => a.outdated)
      .toMatchObject([{ code: 'node_outdated', reason: 'expected message 3 of next of a known kind' }]);
    expect(payloads(reader.packets)).toEqual(['hello', 'second']);
    // What came before it is applied and told; it and what follows are there for a node that adopts what this one had.
    const left = await database.query(`SELECT number FROM node_messages WHERE to_node = 'a' ORDER BY number`);
    expect(left.rows).toEqual([{ number: 3 }, { number: 4 }]);
    const told = await database.query(`SELECT number FROM node_cursors WHERE to_node = 'a' AND from_node = 'next'`);
    expect(told.rows).toEqual([{ number: 2 }]);
  });
});
