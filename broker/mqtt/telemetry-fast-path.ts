/**
 * Handles most PUBLISH packets of devices: telemetry of QoS 0 and 1 that is not retained. Authorizes, stores and acknowledges each
 * message, and gives it to aedes only if a subscription matches. Every other packet is left to aedes (`take` returns false).
 */

import { isMessageKey, lengthWithoutKey } from '@rollcall/protocol';
import type { AcceptCallbacks, Accepted, TelemetryMessage } from '../../telemetry/index.ts';
import type { Rights } from '../access/acl.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { StreamAdmission } from '../routing/telemetry-intake.ts';
import type { Session } from '../sessions/session.ts';
import { PendingAcknowledgement } from './acknowledgement-order.ts';
import type { Backpressure } from './backpressure.ts';
import type { DecodedPacket } from './packet-decoder.ts';
import type { PublishFastPath } from './receive-loop.ts';

/** Which topics have subscribers, live or stored. */
export interface SubscriptionLookup {
  /** Changes whenever an answer of `hasSubscriber` may change. */
  readonly generation: number;
  hasSubscriber(topic: string): boolean;
  /** Whether a stored subscription matches: then aedes queues the message before it is acknowledged. */
  hasStoredSubscription(topic: string): boolean;
}

export interface TelemetryFastPathOptions {
  /** Messages of one client that may be in flight. */
  readonly inflight: number;
  readonly now: () => number;
  readonly counters: BrokerCounters;
  readonly backpressure: Pick<Backpressure, 'telemetryReceived'>;
  readonly telemetry: {
    submit(message: TelemetryMessage, waiting: AcceptCallbacks): void;
    readonly streams?: StreamAdmission;
  };
  readonly subscriptions: SubscriptionLookup;
  readonly deliveredKeys: DeliveredKeys;
  /** Delivers a stored message to its subscribers; `done` is called when all of them have it. */
  readonly forward: (topic: string, message: TelemetryMessage, done: () => void) => void;
}

/** Cached decisions about one topic of a session, without the message key: each message has another key. */
interface TopicState {
  readonly topic: string;
  /** Undefined: not a telemetry topic of this device. */
  readonly stream: string | undefined;
  /** The rights that `isAllowed` was decided by: a changed policy gives a session new rights. */
  rights: Rights | undefined;
  isAllowed: boolean;
  /** The device has this stream. */
  isStreamAdmitted: boolean;
  generation: number;
  hasSubscriber: boolean;
  hasStoredSubscription: boolean;
}

/** A device has a few streams. With more of them the cache is less effective. */
const CACHED_TOPICS = 32;

const SLASH = 0x2f;

/** The fast path of one session. */
export class TelemetryFastPath implements PublishFastPath {
  readonly #session: Session;
  readonly #options: TelemetryFastPathOptions;
  /** State of the topic that was used last. */
  #route: TopicState | undefined;
  #routes: Map<string, TopicState> | undefined;
  /** Messages that are being delivered. */
  #forwarding = 0;

  constructor(session: Session, options: TelemetryFastPathOptions) {
    this.#session = session;
    this.#options = options;
  }

  isFull(): boolean {
    return this.#session.acknowledgements.length + this.#forwarding >= this.#options.inflight;
  }

  isEmpty(): boolean {
    return this.#session.acknowledgements.length === 0 && this.#forwarding === 0;
  }

  take(packet: DecodedPacket): boolean {
    if (packet.qos > 1 || packet.retain) return false;
    const session = this.#session;
    const { identity, group } = session.facts.subject;
    // Telemetry topics are ASCII. Any other byte yields a text that is not a telemetry topic.
    const topic = packet.bytes.toString('latin1', packet.topicStart, packet.topicEnd);
    const route = this.#routeOf(topic);
    if (route.stream === undefined || identity.kind !== 'device') return false;
    const key = topic.length === route.topic.length ? undefined : topic.slice(route.topic.length + 1);
    if (key !== undefined && !isMessageKey(key)) return false;
    const { counters, subscriptions, now, telemetry } = this.#options;
    if (route.rights !== session.rights) {
      route.rights = session.rights;
      route.isAllowed = session.rights.mayPublish(route.topic).allowed;
    }
    if (!route.isAllowed) return false;
    if (!route.isStreamAdmitted) {
      if (telemetry.streams?.admit(identity.id, route.stream) === false) return false; // aedes' hook refuses it.
      route.isStreamAdmitted = true;
    }
    if (route.generation !== subscriptions.generation) {
      route.generation = subscriptions.generation;
      route.hasSubscriber = subscriptions.hasSubscriber(route.topic);
      route.hasStoredSubscription = subscriptions.hasStoredSubscription(route.topic);
    }
    if (route.hasStoredSubscription && packet.qos > 0) return false;
    const unkeyed: TelemetryMessage = {
      device: identity.id,
      stream: route.stream,
      receivedAt: now(),
      qos: packet.qos as 0 | 1,
      group,
      payload: packet.bytes.subarray(packet.payload, packet.end),
    };
    const message = key === undefined ? unkeyed : { ...unkeyed, key };
    counters.messagesReceived += 1;
    counters.messagesOnFastPath += 1;
    const place = route.hasSubscriber
      ? new PendingDelivery(session, packet.packetId, (outcome) => this.#forward(route.topic, message, outcome))
      : new PendingPuback(session, packet.packetId);
    session.acknowledgements.add(place);
    telemetry.submit(message, place);
    this.#options.backpressure.telemetryReceived(session);
    return true;
  }

  #routeOf(topic: string): TopicState {
    const last = this.#route;
    if (last !== undefined && (last.topic === topic || isKeyedTopicOf(last.topic, topic))) return last;
    const keyless = topic.slice(0, lengthWithoutKey(topic));
    const route = this.#routes?.get(keyless) ?? this.#newRoute(keyless);
    this.#route = route;
    return route;
  }

  #newRoute(topic: string): TopicState {
    const stream = this.#session.ownTelemetry(topic)?.stream;
    const route = {
      topic,
      stream,
      rights: undefined,
      isAllowed: false,
      isStreamAdmitted: false,
      generation: -1,
      hasSubscriber: false,
      hasStoredSubscription: false,
    };
    if (this.#route !== undefined) {
      // The map is created with the second topic.
      this.#routes ??= new Map([[this.#route.topic, this.#route]]);
      if (this.#routes.size >= CACHED_TOPICS) this.#routes.clear();
      this.#routes.set(topic, route);
    }
    return route;
  }

  #forward(topic: string, message: TelemetryMessage, outcome: Accepted): void {
    const { deliveredKeys } = this.#options;
    if (message.key !== undefined) {
      const name = deliveredKeys.keyOf(message.device, message.key);
      if (outcome === 'repeated' && deliveredKeys.has(name)) return;
      deliveredKeys.add(name);
    }
    this.#forwarding += 1;
    this.#options.forward(topic, message, () => {
      this.#forwarding -= 1;
      this.#session.connection.continueReading();
    });
  }
}

/** Whether `topic` is `keyless` with a message key appended. */
function isKeyedTopicOf(keyless: string, topic: string): boolean {
  return (
    topic.charCodeAt(keyless.length) === SLASH &&
    topic.startsWith(keyless) &&
    lengthWithoutKey(topic) === keyless.length
  );
}

class PendingPuback extends PendingAcknowledgement {
  readonly #session: Session;
  readonly #packetId: number;

  constructor(session: Session, packetId: number) {
    super(session.acknowledgements);
    this.#session = session;
    this.#packetId = packetId;
  }

  acknowledge(): void {
    // QoS 0 has no packet identifier and no acknowledgement.
    if (this.#packetId > 0) this.#session.connection.acknowledge(this.#packetId);
  }
}

class PendingDelivery extends PendingPuback {
  readonly #forward: (outcome: Accepted) => void;
  #outcome: Accepted = 'stored';

  constructor(session: Session, packetId: number, forward: (outcome: Accepted) => void) {
    super(session, packetId);
    this.#forward = forward;
  }

  override repeated(): void {
    this.#outcome = 'repeated';
    super.repeated();
  }

  override acknowledge(): void {
    super.acknowledge();
    this.#forward(this.#outcome);
  }
}
