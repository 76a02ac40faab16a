/**
 * Sends messages to one client (MQTT 3.1.1 and 5, sections 3.3 and 4.3): QoS 0 at once; QoS 1 and 2 from the queue of its session, in
 * order and within the client's Receive Maximum. The queue is the only way for QoS 1 and 2, live or not, so no message overtakes an
 * older one. What waited while the client was away is sent at a limited rate, so that a reconnecting fleet does not use all capacity.
 */

import { ReasonCode } from '@rollcall/protocol';
import type { BrokerCounters } from '../broker-counters.ts';
import type { RetainedRoom } from '../keeper/sessions.ts';
import type { OutgoingQueue, QueuedMessage } from '../session-store/outgoing-queue.ts';
import type { Session } from '../sessions/session.ts';
import { encodeAcknowledgement, encodePublish } from './codec/packet-encoder.ts';
import type { Message } from './message.ts';
import { type ConnectPacket, PacketType } from './packets.ts';
import type { Grant } from './session-subscriptions.ts';
import { SentAliases } from './topic-aliases.ts';

export interface OutgoingOptions {
  readonly limits: {
    /** Bytes that the client may leave unread. */
    readonly outgoing: number;
    /** Queued messages per second after a reconnection; 0: no limit. */
    readonly replayPerSecond: number;
    /** Queued messages from which on a client counts as behind. */
    readonly waiting: number;
  };
  readonly counters: BrokerCounters;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A packet identifier could not be stored. */
  readonly storageFailed: (session: Session, error: unknown) => void;
}

type ClientLimits = Pick<
  ConnectPacket,
  'version' | 'receiveMaximum' | 'maximumPacketSize' | 'topicAliasMaximum' | 'wantsProblemInformation'
>;

/** Messages that a client leaves unacknowledged, at most, also if its Receive Maximum is greater, as with MQTT 3.1.1. */
const UNACKNOWLEDGED_MAX = 10_000;

const STEP_MS = 20;
const PACKET_IDS = 65_535;

/** QoS 1 is acknowledged once, QoS 2 twice. */
const ACKNOWLEDGEMENTS = [0, 1, 2] as const;

export class OutgoingMessages {
  readonly #session: Session;
  readonly #client: ClientLimits;
  readonly #queue: OutgoingQueue;
  readonly #options: OutgoingOptions;
  readonly #aliases: SentAliases | undefined;
  /** Packet identifiers of PUBLISH packets of this connection that are not acknowledged: what Receive Maximum counts [MQTT-3.3.4-9]. */
  readonly #unacknowledged = new Set<number>();
  #lastPacketId = 0;
  /** Messages of an earlier connection that are sent again before all others. */
  #resent: QueuedMessage[] = [];
  /** Messages from before the connection that are not sent yet. */
  #replayed = 0;
  /** Of these, how many may be sent in this step. Messages that come behind them wait. */
  #allowance = 0;
  #stepTimer: NodeJS.Timeout | undefined;
  /** Settles when the packet identifiers given so far are stored; undefined when they are. */
  #storing: Promise<void> | undefined;

  constructor(session: Session, client: ClientLimits, queue: OutgoingQueue, options: OutgoingOptions) {
    this.#session = session;
    this.#client = client;
    this.#queue = queue;
    this.#options = options;
    if (client.topicAliasMaximum > 0) this.#aliases = new SentAliases(client.topicAliasMaximum);
  }

  /** After CONNACK: sends again what was not acknowledged [MQTT-4.4.0-1], then what waits. */
  start(): void {
    if (this.#queue.size === 0) return;
    this.#resent = [...this.#queue.inFlight()];
    for (const { packetId = 0 } of this.#resent) this.#lastPacketId = Math.max(this.#lastPacketId, packetId);
    this.#replayed = this.#queue.size - this.#resent.length;
    this.#allowance = allowanceOf(this.#options.limits.replayPerSecond);
    this.wake();
  }

  /** The client does not read or acknowledge as fast as messages come. */
  get isBehind(): boolean {
    const { outgoing, waiting } = this.#options.limits;
    return (
      this.#session.connection.writableLength > outgoing / 2 ||
      this.#queue.size >= Math.min(this.#client.receiveMaximum, waiting)
    );
  }

  /** What the client takes before it is behind. */
  get room(): RetainedRoom {
    const { outgoing, waiting } = this.#options.limits;
    return {
      messages: Math.min(this.#client.receiveMaximum, waiting) - this.#queue.size,
      bytes: outgoing / 2 - this.#session.connection.writableLength,
    };
  }

  stop(): void {
    clearTimeout(this.#stepTimer);
  }

  /** Sends a message of QoS 0, or one that a subscription grants QoS 0 only. */
  sendAtMostOnce(message: Message, { subscriptionIdentifiers, ...grant }: Grant, isRetained = false): void {
    const { counters, limits } = this.#options;
    const session = this.#session;
    if (!this.#isDeliverable(message)) return;
    if (session.connection.writableLength > limits.outgoing) {
      counters.messagesDropped += 1;
      return;
    }
    const retain = isRetained || (grant.retainAsPublished && message.retain);
    this.#send(message, { qos: 0, retain, dup: false, packetId: 0, subscriptionIdentifiers });
  }

  /** Sends queued messages, as many as the client's Receive Maximum and the rate allow. Called whenever there may be one. */
  wake(): void {
    const session = this.#session;
    const most = Math.min(this.#client.receiveMaximum, UNACKNOWLEDGED_MAX);
    while (session.isOpen && this.#unacknowledged.size < most) {
      const again = this.#resent[0];
      if (again === undefined && this.#replayed > 0 && this.#allowance <= 0) {
        this.#continueLater();
        return;
      }
      const unsent = again === undefined ? this.#queue.nextUnsent() : undefined;
      if (again === undefined && unsent === undefined) {
        this.#replayed = 0;
        return;
      }
      const waiting = session.connection.writableLength;
      // What is from before the connection is sent at the pace at which the client reads.
      if ((again !== undefined || this.#replayed > 0) && waiting > this.#options.limits.outgoing / 2) {
        this.#continueLater();
        return;
      }
      if (waiting > this.#options.limits.outgoing) {
        this.#options.counters.messagesDropped += 1;
        session.end('slow_consumer');
        return;
      }
      if (unsent === undefined) this.#sendAgain(this.#resent.shift() as QueuedMessage);
      else {
        this.#replayed -= 1;
        this.#allowance -= 1;
        if (!this.#sendFirst(unsent)) return;
      }
    }
  }

  /** PUBACK [MQTT-4.3.2], also with a reason: the client will not process the message, and does not get it again. */
  pubackReceived(packetId: number): void {
    this.#queue.acknowledge(packetId);
    this.#done(packetId);
  }

  /** PUBREC [MQTT-4.3.3]. With a reason of 0x80 or greater the handshake is over. */
  pubrecReceived(packetId: number, reasonCode: number): void {
    if (reasonCode >= ReasonCode.unspecifiedError) {
      this.pubackReceived(packetId);
      return;
    }
    const released = this.#queue.release(packetId);
    if (released === undefined) {
      this.#sendPubrel(packetId, ReasonCode.packetIdentifierNotFound);
      return;
    }
    released.then(
      () => this.#sendPubrel(packetId, ReasonCode.success),
      (error: unknown) => this.#options.storageFailed(this.#session, error),
    );
  }

  pubcompReceived(packetId: number): void {
    this.#queue.acknowledge(packetId);
    this.#done(packetId);
  }

  #done(packetId: number): void {
    this.#unacknowledged.delete(packetId);
    if (this.#queue.size > 0) this.wake();
  }

  #sendAgain(queued: QueuedMessage): void {
    const { packetId = 0 } = queued;
    if (!this.#queue.hasPacketId(packetId)) return; // It was acknowledged meanwhile.
    if (queued.isReleased) this.#sendPubrel(packetId, ReasonCode.success);
    else if (!this.#isAllowed(queued.message)) this.#queue.acknowledge(packetId);
    else this.#sendQueued(queued, queued.message, packetId, true); // [MQTT-3.3.1-1]
  }

  /** False: all packet identifiers are in use. */
  #sendFirst(queued: QueuedMessage): boolean {
    if (!this.#isDeliverable(queued.message)) {
      this.#queue.drop(queued);
      return true;
    }
    const packetId = this.#nextPacketId();
    if (packetId === undefined) return false;
    const { message } = queued; // The queue forgets it if it can not be sent again.
    const storing = this.#queue.assignPacketId(queued, packetId);
    this.#unacknowledged.add(packetId);
    if (storing === undefined && this.#storing === undefined) this.#sendQueued(queued, message, packetId, false);
    else this.#sendWhenStored(queued, message, packetId, storing);
    return true;
  }

  /** Keeps the order of the queue while packet identifiers of QoS 2 are being stored. */
  #sendWhenStored(queued: QueuedMessage, message: Message, packetId: number, stored: Promise<void> | undefined): void {
    const earlier = this.#storing;
    const storing: Promise<void> = Promise.all([earlier, stored]).then(
      () => {
        if (this.#storing === storing) this.#storing = undefined;
        if (this.#session.isOpen) this.#sendQueued(queued, message, packetId, false);
      },
      (error: unknown) => this.#options.storageFailed(this.#session, error),
    );
    this.#storing = storing;
  }

  #sendQueued(
    { qos, retain, subscriptionIdentifiers }: QueuedMessage,
    message: Message,
    packetId: number,
    dup: boolean,
  ): void {
    this.#unacknowledged.add(packetId);
    if (this.#send(message, { qos, retain, dup, packetId, subscriptionIdentifiers })) {
      this.#session.input.expectAcknowledgements(ACKNOWLEDGEMENTS[qos]);
      return;
    }
    this.#queue.acknowledge(packetId); // Too large for this client: as if it had been delivered (MQTT 5, 3.1.2.11.4).
    this.#unacknowledged.delete(packetId);
  }

  /** False: the packet is larger than the client accepts, and was not sent [MQTT-3.1.2-25]. */
  #send(
    message: Message,
    options: Pick<QueuedMessage, 'qos' | 'retain' | 'subscriptionIdentifiers'> & {
      readonly dup: boolean;
      readonly packetId: number;
    },
  ): boolean {
    const { counters, now } = this.#options;
    const { version, maximumPacketSize } = this.#client;
    const { topic, payload, expiresAt } = message;
    const known = this.#aliases?.get(topic);
    const topicAlias = known ?? this.#aliases?.next;
    const packet = encodePublish(version, {
      ...options,
      topic: known === undefined ? topic : '',
      payload,
      topicAlias,
      properties: message.properties,
      messageExpiryInterval: expiresAt === undefined ? undefined : Math.max(0, Math.ceil((expiresAt - now()) / 1000)),
    });
    if (packet.length > maximumPacketSize) {
      counters.messagesTooLarge += 1;
      return false;
    }
    if (known === undefined && topicAlias !== undefined) this.#aliases?.set(topic, topicAlias);
    this.#session.connection.send(packet);
    counters.messagesForwarded += 1;
    return true;
  }

  #sendPubrel(packetId: number, reasonCode: ReasonCode): void {
    this.#session.connection.send(encodeAcknowledgement(this.#client.version, PacketType.pubrel, packetId, reasonCode));
  }

  #isDeliverable(message: Message): boolean {
    if (message.expiresAt !== undefined && message.expiresAt <= this.#options.now()) {
      this.#options.counters.messagesExpired += 1;
      return false;
    }
    return this.#isAllowed(message);
  }

  #isAllowed({ topic }: Message): boolean {
    if (this.#session.rights.mayReceive(topic).allowed) return true;
    this.#options.counters.receiveDenied += 1;
    return false;
  }

  #nextPacketId(): number | undefined {
    for (let tried = 0; tried < PACKET_IDS; tried += 1) {
      this.#lastPacketId = this.#lastPacketId >= PACKET_IDS ? 1 : this.#lastPacketId + 1;
      const id = this.#lastPacketId;
      if (!this.#unacknowledged.has(id) && !this.#queue.hasPacketId(id)) return id;
    }
    return undefined;
  }

  #continueLater(): void {
    this.#stepTimer ??= setTimeout(() => {
      this.#stepTimer = undefined;
      this.#allowance = allowanceOf(this.#options.limits.replayPerSecond);
      this.wake();
    }, STEP_MS).unref();
  }
}

function allowanceOf(perSecond: number): number {
  if (perSecond === 0) return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.round((perSecond * STEP_MS) / 1000));
}
