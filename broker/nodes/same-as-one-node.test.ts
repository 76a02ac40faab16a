/** Property: over two nodes every client receives what it receives from the broker of one node. */

import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

const NAMES = ['a', 'b', 'c'] as const;
type Name = (typeof NAMES)[number];

const name = fc.constantFrom(...NAMES);
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const);
const filter = fc.constantFrom('t/1', 't/2', 't/+', '#');
const topic = fc.constantFrom('t/1', 't/2');

type Step =
  | { readonly kind: 'connect'; readonly name: Name; readonly node: number; readonly isClean: boolean }
  | { readonly kind: 'disconnect'; readonly name: Name }
  | { readonly kind: 'subscribe'; readonly name: Name; readonly filter: string; readonly qos: 0 | 1 | 2 }
  | { readonly kind: 'unsubscribe'; readonly name: Name; readonly filter: string }
  | {
      readonly kind: 'publish';
      readonly name: Name;
      readonly topic: string;
      readonly qos: 0 | 1 | 2;
      readonly isRetained: boolean;
    }
  /** Acknowledges all that it has received so far. */
  | { readonly kind: 'acknowledge'; readonly name: Name };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('connect' as const),
      name,
      node: fc.nat(1),
      isClean: fc.nat(4).map((n) => n === 0),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('disconnect' as const), name }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('subscribe' as const), name, filter, qos }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('unsubscribe' as const), name, filter }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('publish' as const), name, topic, qos, isRetained: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), name }) },
);

/** Runs the steps, one after the other, and records what each client receives in each. */
class Run {
  readonly heard: string[] = [];
  readonly #broker: TestBroker;
  readonly #isOfNodes: boolean;
  readonly #credentials: Readonly<Record<Name, ReturnType<TestBroker['enroll']>>>;
  readonly #clients = new Map<Name, RawClient>();
  readonly #unacknowledged = new Map<Name, { readonly qos: 0 | 1 | 2; readonly messageId: number }[]>();
  #published = 0;

  constructor(broker: TestBroker, isOfNodes: boolean) {
    this.#broker = broker;
    this.#isOfNodes = isOfNodes;
    this.#credentials = {
      a: broker.enroll(service('a')),
      b: broker.enroll(service('b')),
      c: broker.enroll(service('c')),
    };
  }

  async take(one: Step): Promise<void> {
    if (one.kind === 'connect') await this.#connect(one);
    else {
      const client = this.#clients.get(one.name);
      if (client === undefined) return;
      if (one.kind === 'subscribe')
        client.send({ cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: one.filter, qos: one.qos }] });
      else if (one.kind === 'unsubscribe')
        client.send({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: [one.filter] });
      else if (one.kind === 'publish') await this.#publish(client, one);
      else if (one.kind === 'acknowledge') this.#acknowledge(one.name, client);
      else await this.#disconnect(one.name, client);
    }
    await this.listen();
  }

  /** What every client has received since the last time, in the order of arrival. */
  async listen(): Promise<void> {
    // What is delivered by the answer of one client reaches the others within two rounds.
    for (let round = 0; round < 3; round += 1) {
      await this.#broker.sessions.store.durable(); // A QoS 2 message is sent when its packet identifier is on disk.
      for (const [own, client] of this.#clients) {
        for (const packet of await client.settled()) {
          if (packet.cmd === 'suback' || packet.cmd === 'unsuback') this.heard.push(`${own} ${packet.cmd}`);
          if (packet.cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId: packet.messageId as number });
          if (packet.cmd !== 'publish') continue;
          const { topic: on, payload, qos: with_, retain, dup, messageId = 0 } = packet;
          this.heard.push(`${own} ${on} ${payload} qos=${with_} retain=${retain} dup=${dup}`);
          if (with_ > 0) this.#unacknowledged.get(own)?.push({ qos: with_, messageId });
        }
      }
    }
  }

  async #connect({ name: own, node, isClean }: Extract<Step, { kind: 'connect' }>): Promise<void> {
    const properties = { sessionExpiryInterval: isClean ? 0 : 3_600 };
    const options = { clientId: own, protocolVersion: 5 as const, clean: isClean, properties };
    this.#unacknowledged.set(own, []);
    const client = await this.#broker.session(this.#credentials[own], options, this.#isOfNodes ? node : undefined);
    this.#clients.set(own, client);
    this.heard.push(`${own} session present: ${client.connack?.sessionPresent}`);
  }

  async #disconnect(own: Name, client: RawClient): Promise<void> {
    this.#clients.delete(own);
    client.disconnect();
    await waitUntil(() => !this.#broker.broker.sessions().some(({ clientId }) => clientId === own));
  }

  async #publish(
    client: RawClient,
    { topic: on, qos: with_, isRetained: retain }: Extract<Step, { kind: 'publish' }>,
  ): Promise<void> {
    this.#published += 1;
    await client.publish(on, String(this.#published), { qos: with_, retain, messageId: 1_000 });
    if (with_ === 2) client.send({ cmd: 'pubrel', messageId: 1_000 });
  }

  #acknowledge(own: Name, client: RawClient): void {
    for (const packet of this.#unacknowledged.get(own) ?? []) client.acknowledge(packet);
    this.#unacknowledged.set(own, []);
  }
}

const policies = {
  'service/*': { connect: ['*'], publish: ['#'], subscribe: ['#'], receive: ['#'], retain: ['#'] },
};

async function heardFrom(steps: readonly Step[], nodes: 0 | 2): Promise<readonly string[]> {
  const limits = { takeoversPerMinute: 0, messagesPerSecond: 0 };
  const broker = await TestBroker.start({ nodes, policies, limits });
  try {
    const run = new Run(broker, nodes > 0);
    for (const own of NAMES)
      await run.take({ kind: 'connect', name: own, node: NAMES.indexOf(own) % 2, isClean: false });
    for (const own of NAMES) await run.take({ kind: 'subscribe', name: own, filter: 't/+', qos: 2 });
    for (const one of steps) await run.take(one);
    return run.heard;
  } finally {
    await broker.close();
  }
}

it('every client receives the same messages in the same order from two nodes as from one', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 20 }), async (steps) => {
      const [two, one] = [await heardFrom(steps, 2), await heardFrom(steps, 0)];
      expect(inOrder(two)).toEqual(inOrder(one));
    }),
    { numRuns: 8, endOnFailure: true },
  );
});

/** For each client, topic and QoS: MQTT has no order between messages of different topics or QoS (3.1.1 and 5, 4.6). */
function inOrder(heard: readonly string[]): Readonly<Record<string, readonly string[]>> {
  return Object.groupBy(heard, (line) => {
    const [own, on, , qosOfIt] = line.split(' ');
    return line.includes(' qos=') ? `${own} ${on} ${qosOfIt}` : `${own}`;
  }) as Readonly<Record<string, readonly string[]>>;
}
