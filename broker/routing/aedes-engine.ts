/**
 * Configures and starts aedes: no queue that one slow reader could fill for all, no unnecessary timers, no status messages about
 * clients. This file and `aedes-parser.ts` alone use internals of aedes, so its version is pinned.
 */

import { Aedes, type Client } from 'aedes';
import mqemitter from 'mqemitter';
import type { Logger } from 'pino';
import type { BrokerLimits } from '../broker-limits.ts';
import type { MqttConnection } from '../mqtt/connection.ts';
import type { EngineInput } from '../mqtt/receive-loop.ts';
import type { SubscriptionLookup } from '../mqtt/telemetry-fast-path.ts';
import type { StoredPacket } from '../session-store/stored-packets.ts';
import type { Session } from '../sessions/session.ts';
import { type AedesHooksOptions, createAedesHooks } from './aedes-hooks.ts';
import { type AedesParser, parseDecodedPackets } from './aedes-parser.ts';
import type { DeliveredKeys, KeyedPacket } from './delivered-keys.ts';
import { SubscriptionIndex } from './subscription-index.ts';

/** Members of aedes' client that its types do not declare. */
export interface AedesClient extends Client {
  /** Sends a queued message under the next packet identifier. Calls back when it was written or refused. */
  deliverQoS(packet: StoredPacket, done: () => void): void;
  will: unknown;
  _will: unknown;
  subscriptions: Record<string, unknown>;
  duplicates: Record<string, number>;
  _parser: AedesParser;
  _parsingBatch: number;
}

export interface RoutingEngineOptions extends AedesHooksOptions {
  readonly limits: BrokerLimits;
  readonly log: Logger;
  /** aedes has finished with CONNECT. */
  readonly connectFinished: (session: Session) => void;
}

export interface ServerMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  /** Retain the message; an empty payload removes the retained one. */
  readonly retain?: true;
}

export interface ForwardedMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
}

export interface RoutingEngine {
  /** Which topics have subscribers. */
  readonly subscriptions: SubscriptionLookup;
  /** Gives a connection to aedes, which reads its CONNECT at once. */
  attach(connection: MqttConnection): AedesClient;
  /** The input of aedes' client for the receive loop. */
  inputOf(client: AedesClient): EngineInput;
  /** Resolves when the message was delivered to all connected subscribers. */
  publish(message: ServerMessage): Promise<void>;
  /** The same for a message of the fast path. `done` is called once. */
  forward(message: ForwardedMessage, done: () => void): void;
  close(): Promise<void>;
}

/** aedes looks for wills of other brokers at four times this interval. There are none, but the timer cannot be disabled. */
const HEARTBEAT = 3_600_000;

export async function createRoutingEngine(options: RoutingEngineOptions): Promise<RoutingEngine> {
  const { limits, log, persistence, sessionOf, connectFinished } = options;
  const emitter = mqemitter({ concurrency: 0, matchEmptyLevels: true });
  const subscriptions = new SubscriptionIndex(persistence);
  subscriptions.watch(emitter);
  const aedes = await Aedes.createBroker({
    mq: emitter,
    persistence: persistence,
    concurrency: 0, // A limit would be shared by all readers, and slow ones would exhaust it.
    heartbeatInterval: HEARTBEAT,
    connectTimeout: limits.connectTimeout,
    drainTimeout: 0, // `MqttConnection.write` never blocks; the limit `outgoing` ends slow readers.
    maxTopicLevels: limits.topicLevels,
    maxInflightInbound: limits.inflight,
    queueLimit: limits.inflight,
    ...createAedesHooks(options),
  });
  suppressStatusMessages(aedes);
  deliverOnce(aedes, options.deliveredKeys);
  const duplicates = disableDuplicateCheck(aedes);
  const ofClient = (client: { readonly conn: unknown }) => sessionOf(client.conn as MqttConnection);

  aedes.on('clientReady', (client) => {
    const session = ofClient(client);
    if (session !== undefined) connectFinished(session);
  });
  aedes.on('unsubscribe', (filters, client) => {
    const session = ofClient(client);
    for (const filter of filters) session?.filters.delete(filter);
  });

  // Without a listener an error of the persistence would end the process.
  (aedes as unknown as NodeJS.EventEmitter).on('error', (error: unknown) => log.error({ err: error }, 'engine failed'));

  return {
    attach(connection) {
      const client = aedes.handle(connection as never) as AedesClient;
      client.duplicates = duplicates;
      parseDecodedPackets(client._parser);
      return client;
    },
    inputOf: (client) => new AedesInput(client),
    publish: ({ topic, payload, qos, retain = false }) =>
      new Promise((resolve) => {
        aedes.publish({ cmd: 'publish', topic, payload, qos, retain, dup: false }, (error) => {
          if (error) log.error({ err: error, topic }, 'event could not be published');
          resolve();
        });
      }),
    subscriptions,
    forward: ({ topic, payload, qos }, done) => {
      const packet = { cmd: 'publish' as const, topic, payload: payload as Buffer, qos, retain: false, dup: false };
      aedes.publish(packet, (error) => {
        if (error) log.error({ err: error, topic }, 'message could not be forwarded');
        done();
      });
    },
    close: () => new Promise((resolve) => aedes.close(resolve)),
  };
}

class AedesInput implements EngineInput {
  readonly #client: AedesClient;

  constructor(client: AedesClient) {
    this.#client = client;
  }

  close(): void {
    this.#client.close();
  }

  feed(batch: Buffer): void {
    this.#client._parser.parse(batch);
  }

  packetsInProgress(): number {
    return this.#client._parsingBatch;
  }
}

/** aedes publishes the state of each client under $SYS for other brokers. There are none, and no client may read it. */
function suppressStatusMessages(aedes: Aedes): void {
  const publish = aedes.publish.bind(aedes) as (...values: unknown[]) => void;
  aedes.publish = ((packet: { readonly topic: string }, ...rest: unknown[]) => {
    if (!packet.topic.startsWith('$SYS/')) return publish(packet, ...rest);
    const done = rest.find((value) => typeof value === 'function') as (() => void) | undefined;
    done?.();
  }) as typeof aedes.publish;
}

/** aedes acknowledges and publishes in one step. A message that was delivered before is only acknowledged. */
function deliverOnce(aedes: Aedes, deliveredKeys: DeliveredKeys): void {
  const publish = aedes.publish.bind(aedes) as (...values: unknown[]) => void;
  aedes.publish = ((packet: KeyedPacket, ...rest: unknown[]) => {
    if (packet.isRepeated !== true) {
      if (packet.deliveryKey !== undefined) deliveredKeys.add(packet.deliveryKey);
      return publish(packet, ...rest);
    }
    const done = rest.find((value) => typeof value === 'function') as (() => void) | undefined;
    done?.();
  }) as typeof aedes.publish;
}

/**
 * aedes treats a message as a duplicate when a later one was delivered first. All deliveries of one message to one client
 * happen in one turn, so a comparison with the last one suffices; `aedes-hooks.ts` makes it at each delivery.
 */
function disableDuplicateCheck(aedes: Aedes): Record<string, number> {
  return Object.defineProperty(Object.create(null), aedes.id, { get: () => 0, set: () => {} });
}
