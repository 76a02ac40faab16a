/**
 * PUBLISH from a client (MQTT 3.1.1 and 5, sections 3.3 and 4.3): decode, authorize, persist, acknowledge, deliver. Wills and messages of
 * the server join at persist. Both versions take the same steps; they differ in how a refusal is answered.
 */

import { isUtf8 } from 'node:buffer';
import { isMessageKey, ReasonCode } from '@rollcall/protocol';
import type { AcceptCallbacks, TelemetryMessage } from '../../telemetry/index.ts';
import type { PolicyVerb } from '../access/acl.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { DisconnectReason, ShareExceeded } from '../events.ts';
import type { Sessions } from '../keeper/sessions.ts';
import type { Bus } from '../routing/bus.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { StreamAdmission } from '../routing/telemetry-intake.ts';
import { retainedBytes } from '../session-store/stored-message.ts';
import type { Session } from '../sessions/session.ts';
import type { Backpressure } from './backpressure.ts';
import { encodeAcknowledgement } from './codec/packet-encoder.ts';
import { FAULTS } from './codec/protocol-violations.ts';
import { hasRoomForQos2, isQos2InUse, isQos2Received, reserveQos2Key } from './inbound-qos2.ts';
import type { Message } from './message.ts';
import { storedProperties } from './own-telemetry.ts';
import { PacketType, type PublishPacket } from './packets.ts';
import { PendingPuback } from './pending-puback.ts';
import { PendingPublish, type PublishDelivery } from './pending-publish.ts';
import type { PublishTopic } from './publish-topics.ts';
import { ReceivedAliases } from './topic-aliases.ts';

export interface PublishHandlerOptions {
  readonly limits: BrokerLimits;
  readonly counters: BrokerCounters;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly telemetry: {
    submit(message: TelemetryMessage, waiting: AcceptCallbacks): void;
    readonly streams?: StreamAdmission;
  };
  readonly router: MessageRouter;
  readonly sessions: Pick<Sessions, 'choose' | 'enqueue' | 'mayRetain'>;
  readonly bus: Pick<Bus, 'tell'>;
  readonly deliveredKeys: DeliveredKeys;
  readonly backpressure: Pick<Backpressure, 'telemetryReceived'>;
  readonly accessDenied: (session: Session, verb: PolicyVerb, topic: string, why: string) => void;
  readonly shareExceeded: (session: Session, share: ShareExceeded) => void;
}

const ALIAS_UNKNOWN = FAULTS.topicAliasUnknown.in(PacketType.publish, 5);
const TOO_MANY = FAULTS.receiveMaximumExceeded.in(PacketType.publish, 5);

/** Why a message is refused, and how: MQTT 5 has a reason code for it; a client of MQTT 3.1.1 is disconnected. */
interface Refusal {
  readonly code: ReasonCode;
  readonly reason: DisconnectReason;
}

const NOT_AUTHORIZED: Refusal = { code: ReasonCode.notAuthorized, reason: 'acl_denied' };
const QUOTA: Refusal = { code: ReasonCode.quotaExceeded, reason: 'limit_exceeded' };
const NOT_UTF8: Refusal = { code: ReasonCode.payloadFormatInvalid, reason: 'protocol_violation' };
const ID_IN_USE: Refusal = { code: ReasonCode.packetIdentifierInUse, reason: 'protocol_violation' };

export class PublishHandler implements PublishDelivery {
  readonly deliveredKeys: DeliveredKeys;
  readonly #options: PublishHandlerOptions;

  constructor(options: PublishHandlerOptions) {
    this.#options = options;
    this.deliveredKeys = options.deliveredKeys;
  }

  handle(session: Session, packet: PublishPacket): void {
    const name = topicNameOf(session, packet);
    if (name === undefined) {
      session.input.protocolViolated(ALIAS_UNKNOWN);
      return;
    }
    if (packet.qos === 2 && isQos2Received(session, packet.packetId)) {
      this.#acknowledgeAgain(session, packet);
      return;
    }
    const target = session.publishTopics.find(name);
    const refusal = this.#refusalOf(session, packet, target, name);
    if (refusal !== undefined) {
      // PUBREC with an error ends the handshake: the identifier is free for another message [MQTT-4.3.3-4].
      if (packet.qos === 2) session.record.incoming.remove(packet.packetId);
      refuse(session, packet, refusal);
      return;
    }
    this.#options.counters.messagesReceived += 1;
    if (packet.qos === 2) this.#storeOnce(session, packet, target, name);
    else this.#store(session, packet, target, name);
  }

  // Authorize.

  #refusalOf(session: Session, packet: PublishPacket, target: PublishTopic, name: string): Refusal | undefined {
    const { rights } = session;
    if (target.rights !== rights) {
      target.rights = rights;
      target.decision = rights.mayPublish(target.topic);
    }
    const hasKey = name.length !== target.topic.length;
    if (target.decision?.allowed !== true || (hasKey && !isMessageKey(name.slice(target.topic.length + 1)))) {
      const why = target.decision?.allowed === false ? target.decision.reason : 'topic_malformed';
      return this.#denied(session, 'publish', name, why);
    }
    if (packet.retain) {
      const mayRetain = rights.mayRetain(target.topic);
      if (!mayRetain.allowed) return this.#denied(session, 'retain', target.topic, mayRetain.reason);
    }
    if (target.stream !== undefined && !target.isStreamAdmitted && !this.#admitsStream(session, target)) return QUOTA;
    if (packet.properties?.message?.payloadFormatIndicator === 1 && !isUtf8(payloadOf(packet))) return NOT_UTF8;
    if (packet.retain && !this.#mayRetain(session, packet, target.topic)) return QUOTA;
    if (packet.qos === 1 && session.usesQos2 && session.isMqtt5 && isQos2InUse(session, packet.packetId)) {
      return ID_IN_USE;
    }
    return undefined;
  }

  #denied(session: Session, verb: PolicyVerb, topic: string, why: string): Refusal {
    const { counters, accessDenied } = this.#options;
    counters.publishDenied += 1;
    accessDenied(session, verb, topic, why);
    return NOT_AUTHORIZED;
  }

  #admitsStream(session: Session, target: PublishTopic): boolean {
    const { streams } = this.#options.telemetry;
    const { identity } = session.subject;
    const { stream = '' } = target;
    if (identity.kind === 'device' && streams?.admit(identity.id, stream) === false) {
      this.#options.shareExceeded(session, { kept: 'streams', bound: 'own', stream, limit: streams.max });
      return false;
    }
    target.isStreamAdmitted = true;
    return true;
  }

  #mayRetain(session: Session, packet: PublishPacket, topic: string): boolean {
    const bytes = retainedBytes({ payload: payloadOf(packet), properties: packet.properties?.message });
    return this.#options.sessions.mayRetain(topic, bytes, session.owner);
  }

  // Persist.

  /** QoS 0 and 1. */
  #store(session: Session, packet: PublishPacket, target: PublishTopic, name: string): void {
    const { router, telemetry, sessions } = this.#options;
    if (target.generation !== router.generation) {
      target.generation = router.generation;
      target.hasSubscriber = router.hasSubscriber(target.topic);
      target.isRouted = router.isRouted(target.topic);
    }
    const forJournal = this.#telemetryOf(session, packet, target, name);
    const message = target.hasSubscriber || packet.retain ? this.#messageOf(session, packet, target.topic) : undefined;
    if (message === undefined && forJournal !== undefined) {
      const puback = new PendingPuback(session, packet.packetId);
      session.acknowledgements.add(puback);
      telemetry.submit(forJournal, puback);
      return;
    }
    const pending = new PendingPublish(session, packet, message, this);
    session.acknowledgements.add(pending);
    if (message !== undefined) {
      pending.deliveryKey = this.#deliveryKeyOf(forJournal);
      pending.isDelivered = this.#wasDelivered(pending);
      if (!pending.isDelivered && (target.isRouted || message.retain)) {
        pending.shares = sessions.choose(message);
        const isInJournal = forJournal !== undefined;
        pending.waitFor(sessions.enqueue(message, { owner: session.owner, shares: pending.shares, isInJournal }));
      }
    } else pending.reasonCode = ReasonCode.noMatchingSubscribers;
    if (forJournal === undefined) pending.ready();
    else telemetry.submit(forJournal, pending);
  }

  /** A repetition before its PUBREL: it was authorized, stored and delivered before. */
  #acknowledgeAgain(session: Session, packet: PublishPacket): void {
    const pending = new PendingPublish(session, packet, undefined, this);
    session.acknowledgements.add(pending);
    pending.waitFor(session.record.durable());
    pending.ready();
  }

  /** QoS 2: a message that is sent again before its PUBREL is the same message [MQTT-4.3.3-2, MQTT-4.3.3-10]. */
  #storeOnce(session: Session, packet: PublishPacket, target: PublishTopic, name: string): void {
    const { limits, router } = this.#options;
    const { packetId } = packet;
    session.usesQos2 = true;
    if (!hasRoomForQos2(session, packetId, limits.inflight)) {
      if (session.isMqtt5) {
        session.input.protocolViolated(TOO_MANY);
        return;
      }
      session.end('limit_exceeded');
      return;
    }
    const forJournal = this.#telemetryOf(session, packet, target, name);
    const pending = new PendingPublish(session, packet, this.#messageOf(session, packet, target.topic), this);
    session.acknowledgements.add(pending);
    pending.isInJournal = forJournal !== undefined;
    if (forJournal === undefined && !packet.retain && !router.hasSubscriber(target.topic)) {
      pending.reasonCode = ReasonCode.noMatchingSubscribers;
    }
    if (forJournal === undefined) this.#complete(pending);
    else if (forJournal.key !== undefined) {
      pending.deliveryKey = this.#deliveryKeyOf(forJournal);
      pending.isDelivered = this.#wasDelivered(pending);
      this.#submitOnce(forJournal, pending);
    } else {
      reserveQos2Key(session, packetId).then(
        (key) => this.#submitOnce({ ...forJournal, key }, pending),
        (error: unknown) => pending.notStored(error),
      );
    }
  }

  #submitOnce(message: TelemetryMessage, pending: PendingPublish): void {
    this.#options.telemetry.submit(message, {
      stored: () => {
        pending.session.messageStored();
        this.#complete(pending);
      },
      repeated: () => {
        pending.isRepeated = true;
        this.#complete(pending);
      },
      notStored: (error) => pending.notStored(error),
    });
  }

  /** The journal has the message, if it belongs there: queues it, together with the mark that it was received. */
  #complete(pending: PendingPublish): void {
    const { sessions } = this.#options;
    const { session, message, packetId } = pending;
    if (session.acknowledgements.isAbandoned) return; // Neither acknowledged nor delivered any more.
    // It was received before, or an earlier connection of the session has completed it meanwhile.
    if (isQos2Received(session, packetId)) pending.isDelivered = true;
    if (message === undefined || pending.isDelivered) {
      session.record.incoming.put(packetId, undefined);
      pending.waitFor(session.record.durable());
    } else {
      pending.shares = sessions.choose(message);
      const { isInJournal, shares } = pending;
      const received = { record: session.record, packetId };
      pending.waitFor(sessions.enqueue(message, { owner: session.owner, shares, isInJournal, received }));
    }
    pending.ready();
  }

  #deliveryKeyOf(message: TelemetryMessage | undefined): string | undefined {
    return message?.key === undefined ? undefined : this.deliveredKeys.keyOf(message.device, message.key);
  }

  /** A message with a key is the same as the last one with it. Whether it is stored again, the journal decides. */
  #wasDelivered({ deliveryKey }: PendingPublish): boolean {
    return deliveryKey !== undefined && this.deliveredKeys.has(deliveryKey);
  }

  #telemetryOf(
    session: Session,
    { qos, payload, bytes, end, properties }: PublishPacket,
    { stream, topic }: PublishTopic,
    name: string,
  ): TelemetryMessage | undefined {
    const { identity, group } = session.subject;
    if (stream === undefined || identity.kind !== 'device') return undefined;
    this.#options.backpressure.telemetryReceived(session);
    const message: TelemetryMessage = {
      device: identity.id,
      stream,
      receivedAt: this.#options.now(),
      qos,
      group,
      payload: bytes.subarray(payload, end),
    };
    if (name.length === topic.length && properties === undefined) return message;
    const key = name.length === topic.length ? undefined : name.slice(topic.length + 1);
    return { ...message, ...storedProperties(key, properties?.message) };
  }

  #messageOf(session: Session, packet: PublishPacket, topic: string): Message {
    const expiry = packet.properties?.messageExpiryInterval;
    return {
      topic,
      payload: packet.bytes.subarray(packet.payload, packet.end),
      qos: packet.qos,
      retain: packet.retain,
      properties: packet.properties?.message,
      expiresAt: expiry === undefined ? undefined : this.#options.now() + expiry * 1000,
      clientId: session.facts.clientId,
      number: this.#options.router.nextNumber(),
    };
  }

  /** No session has room for the message, so the client is told, and the packet identifier of QoS 2 is free again. */
  refused({ session, qos, packetId }: PendingPublish): void {
    if (qos === 2) session.record.incoming.remove(packetId);
  }

  // Deliver.

  /** The message is stored and acknowledged. */
  deliver({ session, shares }: PendingPublish, message: Message): void {
    session.delivering += 1;
    this.#options.bus.tell(message, shares, () => {
      session.delivering -= 1;
      session.connection.continueReading();
    });
  }
}

/** The topic name, also by its alias; undefined for an alias that was not set [MQTT-3.3.2-8]. */
function topicNameOf(session: Session, { bytes, topicStart, topicEnd, properties }: PublishPacket): string | undefined {
  const alias = properties?.topicAlias;
  if (topicStart === topicEnd) return alias === undefined ? undefined : session.receivedAliases?.get(alias);
  const name = bytes.toString('utf8', topicStart, topicEnd);
  if (alias === undefined) return name;
  session.receivedAliases ??= new ReceivedAliases();
  session.receivedAliases.set(alias, name);
  return name;
}

/** MQTT 5: the message is refused and the session goes on; QoS 0 has no answer. MQTT 3.1.1 has none at all: the session ends. */
function refuse(session: Session, { qos, packetId }: PublishPacket, { code, reason }: Refusal): void {
  if (!session.isMqtt5) {
    session.end(reason);
    return;
  }
  if (qos === 0) return;
  const type = qos === 1 ? PacketType.puback : PacketType.pubrec;
  session.acknowledgements.afterEarlier(() => session.connection.send(encodeAcknowledgement(5, type, packetId, code)));
}

function payloadOf({ bytes, payload, end }: PublishPacket): Buffer {
  return bytes.subarray(payload, end);
}
