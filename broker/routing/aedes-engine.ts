/**
 * aedes, made to measure: no queue that one reader could fill for all, no timers that we do not need, and nothing of
 * what it tells about its clients. The only file that knows aedes' inner names, so its version is pinned.
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

/** What aedes' client has and its types do not tell. */
export interface AedesClient extends Client {
  /** Sends a queued message under its next packet identifier; calls back when it was written, or refused. */
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
  /** Kept as the retained message of its topic; an empty one removes it. */
  readonly retain?: true;
}

export interface ForwardedMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
}

export interface RoutingEngine {
  /** Who has subscribed. */
  readonly subscriptions: SubscriptionLookup;
  /** Hands a connection over; aedes reads its CONNECT at once. */
  attach(connection: MqttConnection): AedesClient;
  /** What the wire needs of it. */
  inputOf(client: AedesClient): EngineInput;
  /** Resolves when it was handed to everyone who is here. */
  publish(message: ServerMessage): Promise<void>;
  /** The same for a client's message that went round the engine; `done` is called once. */
  forward(message: ForwardedMessage, done: () => void): void;
  close(): Promise<void>;
}

/** aedes looks for wills of dead brokers at four times this; the store has none, but the timer cannot be switched off. */
const HEARTBEAT = 3_600_000;

export async function createRoutingEngine(options: RoutingEngineOptions): Promise<RoutingEngine> {
  const { limits, log, persistence, sessionOf, connectFinished } = options;
  const emitter = mqemitter({ concurrency: 0, matchEmptyLevels: true });
  const subscriptions = new SubscriptionIndex(persistence);
  subscriptions.watch(emitter);
  const aedes = await Aedes.createBroker({
    mq: emitter,
    persistence: persistence,
    concurrency: 0, // slots would be shared by all readers, and used up by the slow ones
    heartbeatInterval: HEARTBEAT,
    connectTimeout: limits.connectTimeout,
    drainTimeout: 0, // a connection takes everything; who does not read is disconnected
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

  // Without a listener an error of its store would end the process.
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

  feed(step: Buffer): void {
    this.#client._parser.parse(step);
  }

  packetsInProgress(): number {
    return this.#client._parsingBatch;
  }
}

/** aedes tells other brokers about each client under $SYS; there is no other, and nobody may read it. */
function suppressStatusMessages(aedes: Aedes): void {
  const publish = aedes.publish.bind(aedes) as (...values: unknown[]) => void;
  aedes.publish = ((packet: { readonly topic: string }, ...rest: unknown[]) => {
    if (!packet.topic.startsWith('$SYS/')) return publish(packet, ...rest);
    const done = rest.find((value) => typeof value === 'function') as (() => void) | undefined;
    done?.();
  }) as typeof aedes.publish;
}

/** aedes acknowledges and publishes in one go; a message that was passed on before needs only the first. */
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
 * aedes takes a message for a duplicate when a later one was delivered first. All deliveries of one message to one client
 * happen in one turn, so comparing with the last one is enough; that is done where deliveries are authorized.
 */
function disableDuplicateCheck(aedes: Aedes): Record<string, number> {
  return Object.defineProperty(Object.create(null), aedes.id, { get: () => 0, set: () => {} });
}
