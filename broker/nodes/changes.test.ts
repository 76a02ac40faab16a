/** What an operator changes reaches the sessions of every node: revocation, policies, limits, certificates, drain. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { DEFAULT_DEVICE_POLICY, formatIdentity, type GroupName } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { dnsName, issue } from '../../test/fixtures/broker/certificates.ts';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import {
  confirmedBy,
  DEFAULT,
  device,
  issuing,
  root,
  service,
  TestBroker,
  type TestBrokerOptions,
} from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start({ nodes: 2, ...options });
};
afterEach(() => testBroker?.close());

/** Policies are applied in turns of the event loop after the change. */
const settled = async () => {
  for (let turn = 0; turn < 50; turn += 1) await nextTurn();
};
const commandTo = (id: string, payload: string) => ({
  topic: `devices/${id}/commands/a/1`,
  payload: Buffer.from(payload),
  qos: 1 as const,
});

const NODES = [0, 1];
const connect = (id: string, node: number, options = {}) =>
  testBroker.session(testBroker.enroll(device(id)), { clientId: id, ...options }, node);

describe('a revocation', () => {
  it('returns when every node has confirmed it, and ends the sessions of the identity on all of them', async () => {
    await start();
    const credentials = testBroker.enroll(service('board'));
    const clients = await Promise.all(
      NODES.map((node) => testBroker.session(credentials, { clientId: `board-${node}` }, node)),
    );
    testBroker.revokeInRegistry(service('board'));
    const held = testBroker.nodes.channels[1]?.hold('apply');
    let isConfirmed = false;
    const revoking = testBroker.broker.disconnect(service('board'), 'revoked').then((report) => {
      isConfirmed = true;
      return report;
    });
    await Promise.all(clients.map(({ closed }) => closed));
    await testBroker.connectDevice('dev-1');
    expect(isConfirmed).toBe(false);
    held?.release();
    expect(await revoking).toMatchObject({ sessionsClosed: 2, nodes: ['n1', 'n2'].map(confirmedBy) });
    expect(testBroker.broker.sessions()).toHaveLength(1);
  });

  it('ends a node that does not answer, so that it returns with every connection of the identity closed', async () => {
    await start({ changeWithin: 1_000 });
    const client = await connect('dev-1', 1);
    testBroker.revokeInRegistry(device('dev-1'));
    testBroker.nodes.channels[1]?.hold('apply', { isDone: false });
    expect(await testBroker.broker.disconnect(device('dev-1'), 'revoked')).toMatchObject({
      sessionsClosed: 1,
      nodes: [confirmedBy('n1'), { name: 'n2', state: 'closed', closedBy: expect.any(Number) }],
    });
    await client.closed;
    expect(testBroker.broker.sessions()).toEqual([]);
  });

  it('counts the sessions of a node that is lost before it confirms', async () => {
    await start();
    await connect('dev-1', 1);
    testBroker.revokeInRegistry(device('dev-1'));
    testBroker.nodes.channels[1]?.hold('apply', { isDone: false });
    const revoking = testBroker.broker.disconnect(device('dev-1'), 'revoked');
    await testBroker.nodes.lose(1);
    expect(await revoking).toMatchObject({ sessionsClosed: 1 });
    expect(testBroker.broker.sessions()).toEqual([]);
  });
});

describe('a changed policy', () => {
  it('withdraws subscriptions on every node, and ends sessions that may not connect', async () => {
    await start();
    const ids = ['dev-1', 'dev-2'];
    const clients = await Promise.all(ids.map((id, node) => connect(id, node)));
    for (const [index, id] of ids.entries()) await clients[index]?.subscribe(`devices/${id}/commands/+/+`);
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, subscribe: [] });
    for (const id of ids) {
      await waitUntil(() =>
        testBroker.events.some(
          (event) => event.type === 'acl_denied' && event.identity.kind === 'device' && event.identity.id === id,
        ),
      );
    }
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, connect: [] });
    await Promise.all(clients.map(({ closed }) => closed));
  });

  it('decides what is queued for a session, whichever node it is on', async () => {
    await start();
    const client = await connect('dev-1', 1, { clean: false });
    await client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, receive: [] });
    await settled();
    await testBroker.broker.send(commandTo('dev-1', 'no'));
    testBroker.setPolicy('group/default', DEFAULT_DEVICE_POLICY);
    await settled();
    await testBroker.broker.send(commandTo('dev-1', 'yes'));
    expect(payloads([(await client.nextOf('publish')) as never])).toEqual(['yes']);
  });
});

describe('another group of a device', () => {
  it('decides also for a session that a node claims with the group of before', async () => {
    await start({ policies: { 'group/locked': { ...DEFAULT_DEVICE_POLICY, receive: [] } } });
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', clean: false }, 0);
    await first.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    first.disconnect();
    await waitUntil(() => testBroker.broker.sessions().length === 0);
    const [node] = testBroker.nodes.channels as [(typeof testBroker.nodes.channels)[0]];
    const held = node.hold('apply', { isDone: false });
    const identity = device('dev-1');
    const changing = testBroker.broker.reauthorize({ identity, group: 'locked' as GroupName, labels: {} });
    await waitUntil(() => held.inputs.length === 1);
    const claimed = await node.call('claim', {
      number: 0,
      clientId: 'dev-1',
      rules: { countsTakeover: true, isLimited: true },
      owner: formatIdentity(identity),
      subject: { identity, group: DEFAULT, labels: {} },
      cleanStart: false,
      sessionExpiryInterval: 3_600,
      connection: { address: '127.0.0.1', serial: credentials.serial, connectedAt: 0, notAfter: Date.now() + 60_000 },
    });
    held.release();
    await changing;
    await testBroker.broker.send(commandTo('dev-1', 'no'));
    if ('refusal' in claimed) throw new Error(claimed.refusal);
    const { claim } = claimed;
    await node.call('release', { claim, sessionExpiryInterval: 3_600, publishesWill: false, undelivered: [] });
    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false }, 1);
    expect(again.connack?.sessionPresent).toBe(true);
    expect(payloads(await again.settled())).toEqual([]);
    await testBroker.broker.send(commandTo('dev-1', 'yes'));
    expect(payloads([(await again.nextOf('publish')) as never])).toEqual(['yes']);
  });
});

describe('limits and certificates', () => {
  it('apply to the next connections of every node, and count sessions of all of them', async () => {
    await start();
    const credentials = testBroker.enroll(service('board'));
    const open = async (clientId: string, node: number) => {
      const client = await testBroker.open(credentials, undefined, node);
      return client.connect({ clientId });
    };
    expect([await open('board-1', 0), await open('board-2', 1)]).toEqual([0, 0]);
    const limits = { connectionsPerSecondPerAddress: 0, handshakes: 100, handshakesPerAddress: 100 };
    testBroker.broker.applyLimits({ ...limits, sessionsPerIdentity: 3 });
    await settled();
    expect([await open('board-3', 0), await open('board-4', 0), await open('board-5', 1)]).toEqual([0, 3, 3]);
    const refusal = { reason: 'too_many_sessions', identity: service('board'), serial: credentials.serial };
    const refused = () => testBroker.events.filter((event) => event.type === 'connect_failed');
    await expect.poll(refused).toMatchObject([refusal, refusal]);
    testBroker.broker.applyLimits({ ...limits, sessionsPerIdentity: 4 });
    await settled();
    expect([await open('board-4', 0), await open('board-5', 1)]).toEqual([0, 3]);
    // Of a limit that the nodes apply before they know who connects.
    testBroker.broker.applyLimits({ ...limits, sessionsPerIdentity: 0, handshakesPerAddress: 1 });
    await settled();
    for (const node of NODES) {
      await testBroker.open(credentials, undefined, node);
      await expect(testBroker.open(credentials, undefined, node)).rejects.toThrow();
    }
  });

  it('that are replaced apply to new connections of every node, and close none', async () => {
    await start();
    const clients = await Promise.all(NODES.map((node) => connect(`dev-${node}`, node)));
    const next = issue({
      issuer: issuing,
      commonNames: ['broker-2'],
      names: [dnsName('localhost')],
      purposes: ['serverAuth'],
    });
    testBroker.broker.replaceTls({ key: next.key, cert: next.chain, ca: root.pem + issuing.pem });
    for (const node of NODES) {
      const serial = async () => {
        const client = await testBroker.open(testBroker.enroll(device('dev-9')), undefined, node);
        return BigInt(`0x${client.socket.getPeerCertificate().serialNumber}`) === BigInt(`0x${next.serial}`);
      };
      while (!(await serial()));
    }
    for (const client of clients) expect(await client.settled()).toEqual([]);
  });
});

describe('a drain of one node', () => {
  it('ends its sessions at the given rate, tells clients of MQTT 5 to connect again, and leaves the other node alone', async () => {
    await start();
    const modern = await connect('dev-1', 0, {
      protocolVersion: 5,
      clean: false,
      properties: { sessionExpiryInterval: 60 },
    });
    const classic = await connect('dev-2', 0, { clean: false });
    const other = await connect('dev-3', 1);
    expect(await testBroker.nodes.drainNode('n1', { within: 60_000, sessionsPerSecond: 0 })).toBe(true);
    expect(await modern.disconnected()).toMatchObject({
      reasonCode: 0x9c,
      properties: { reasonString: expect.stringMatching(/^node_drained:/) },
    });
    await classic.closed;
    expect(classic.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
    expect(testBroker.nodes.nodes()).toMatchObject([
      { name: 'n1', sessions: 0 },
      { name: 'n2', sessions: 1 },
    ]);
    expect(await other.settled()).toEqual([]);
    const back = await testBroker.session(testBroker.enroll(device('dev-2')), { clientId: 'dev-2', clean: false }, 1);
    expect(back.connack?.sessionPresent).toBe(true);
  });

  it('ends no more sessions in each step than its rate allows', async () => {
    await start();
    const clients = await Promise.all(Array.from({ length: 6 }, (_, n) => connect(`dev-${n}`, 0)));
    const draining = testBroker.nodes.drainNode('n1', { within: 600_000, sessionsPerSecond: 20 });
    await Promise.race(clients.map(({ closed }) => closed));
    expect(clients.filter(({ socket }) => !socket.closed).length).toBeGreaterThanOrEqual(3);
    await draining;
    expect(testBroker.broker.sessions()).toEqual([]);
  });

  it('of a node that is not there is answered with false', async () => {
    await start();
    expect(await testBroker.nodes.drainNode('n9', { within: 1_000, sessionsPerSecond: 0 })).toBe(false);
  });
});
