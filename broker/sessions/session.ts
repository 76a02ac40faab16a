/**
 * One connected session: identity, rights, subscriptions, keep-alive and rate limits. Passes each packet to its handler. Ends for exactly
 * one reason, and is finished when what it leaves behind is in order: subscriptions, stored state, will.
 */

import { formatIdentity, type Identity, parseDeviceTopic, telemetryTopic } from '@rollcall/protocol';
import type { Rights, Subject } from '../access/acl.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { DisconnectReason } from '../events.ts';
import { AcknowledgementOrder, type AcknowledgementOrderListener } from '../mqtt/acknowledgement-order.ts';
import { ClientRate } from '../mqtt/client-rate.ts';
import type { ProtocolViolation } from '../mqtt/codec/protocol-violations.ts';
import type { ConnectionOwner, MqttConnection } from '../mqtt/connection.ts';
import { disconnectPacket } from '../mqtt/disconnect-reasons.ts';
import { KeepAliveTimer } from '../mqtt/keep-alive.ts';
import type { Message } from '../mqtt/message.ts';
import type { OutgoingMessages } from '../mqtt/outgoing-messages.ts';
import {
  type AcknowledgementPacket,
  type ConnectPacket,
  type DisconnectPacket,
  PacketType,
  type PublishPacket,
  type Qos,
  type SubscribePacket,
  type UnsubscribePacket,
} from '../mqtt/packets.ts';
import { PublishTopics } from '../mqtt/publish-topics.ts';
import { PauseReason } from '../mqtt/receive-loop.ts';
import type { SessionHandlers } from '../mqtt/session-handlers.ts';
import { type Grant, SessionSubscriptions } from '../mqtt/session-subscriptions.ts';
import type { ReceivedAliases } from '../mqtt/topic-aliases.ts';

export interface SessionFacts {
  readonly subject: Subject;
  /** Number of the connection. */
  readonly sequence: number;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
  readonly connectedAt: number;
  readonly notAfter: number;
}

export interface SessionListener {
  /** The session has a reason to end, and its socket is closing. Called once. */
  ending(session: Session, reason: DisconnectReason): void;
  /** Everything received was processed. Called once, after `ending`. A promise: the session is finished when it settles. */
  finished(session: Session): Promise<void> | undefined;
  protocolViolated(session: Session, violation: ProtocolViolation): void;
  messageStored(): void;
  storageFailed(session: Session, error: unknown): void;
  failed(session: Session, error: unknown): void;
}

/** A telemetry topic of the session's own device, parsed. */
export interface OwnTelemetry {
  /** The topic without the message key. */
  readonly topic: string;
  readonly stream: string;
  readonly key: string | undefined;
}

export interface SessionOptions {
  readonly facts: SessionFacts;
  readonly connection: MqttConnection;
  readonly connectPacket: ConnectPacket;
  readonly rights: Rights;
  readonly limits: BrokerLimits;
  readonly now: () => number;
  readonly handlers: SessionHandlers;
  readonly listener: SessionListener;
}

export class Session implements ConnectionOwner, AcknowledgementOrderListener {
  facts: SessionFacts;
  readonly connection: MqttConnection;
  readonly connectPacket: ConnectPacket;
  readonly acknowledgements: AcknowledgementOrder;
  readonly subscriptions = new SessionSubscriptions();
  readonly publishTopics: PublishTopics;
  rights: Rights;
  /** Its state outlives the connection, and is on disk. */
  isStored = false;
  /** Of its claim on what is stored. */
  claimEpoch = 0;
  /** Settles when CONNECT is answered; undefined when it is. Only then the session can be released. */
  accepting: Promise<void> | undefined;
  /** Seconds; as in CONNECT, within the limit, until DISCONNECT changes it. */
  sessionExpiryInterval: number;
  outgoing: OutgoingMessages | undefined;
  receivedAliases: ReceivedAliases | undefined;
  /** Messages that are being delivered to others. */
  delivering = 0;
  /** When its last PUBLISH was received, in milliseconds since the epoch. */
  lastMessageAt: number | undefined;
  /** It has sent telemetry. */
  sendsTelemetry = false;
  /** Its PUBLISH packets are left unread. */
  holdsPublishes = false;
  /** Acknowledgements that are exempt from its rate limit, because they answer messages that it was sent. */
  acknowledgementCredit = 0;
  /** DISCONNECT was received. */
  sawDisconnect = false;
  /** Its will is not published: the client or an operator wants none. */
  suppressesWill = false;
  readonly #limits: BrokerLimits;
  readonly #now: () => number;
  readonly #handlers: SessionHandlers;
  readonly #listener: SessionListener;
  readonly #rate: ClientRate;
  #isAccepted = false;
  #reason: DisconnectReason | undefined;
  #isFinishing = false;
  #isFinished = false;
  #finished: (() => void)[] = [];
  /** Number of the message that was last delivered: aedes delivers once for each matching filter. */
  #lastReceived = 0;
  #resumeTimer: NodeJS.Timeout | undefined;
  #lastReceivedAt = performance.now();
  #keepAlive: KeepAliveTimer | undefined;

  constructor({ facts, connection, connectPacket, rights, limits, now, handlers, listener }: SessionOptions) {
    this.facts = facts;
    this.connection = connection;
    this.connectPacket = connectPacket;
    this.rights = rights;
    this.sessionExpiryInterval = connectPacket.sessionExpiryInterval;
    this.#limits = limits;
    this.#now = now;
    this.#handlers = handlers;
    this.#listener = listener;
    this.#rate = new ClientRate(limits, facts.connectedAt);
    this.acknowledgements = new AcknowledgementOrder(this);
    this.publishTopics = new PublishTopics(facts.subject.identity);
  }

  /** For events. */
  get eventFields(): { identity: Identity; clientId: string; address: string; serial: string; sequence: number } {
    const { subject, clientId, address, serial, sequence } = this.facts;
    return { identity: subject.identity, clientId, address, serial, sequence };
  }

  /** For log lines and payloads: the identity as text. */
  get logFields(): { identity: string; clientId: string; address: string; serial: string; sequence: number } {
    return { ...this.eventFields, identity: formatIdentity(this.facts.subject.identity) };
  }

  get subject(): Subject {
    return this.facts.subject;
  }

  /** The owner of what is stored for it. */
  get owner(): string {
    return formatIdentity(this.facts.subject.identity);
  }

  get isMqtt5(): boolean {
    return this.connectPacket.version === 5;
  }

  get reason(): DisconnectReason | undefined {
    return this.#reason;
  }

  get isEnded(): boolean {
    return this.#reason !== undefined;
  }

  /** CONNACK was sent. */
  get wasAccepted(): boolean {
    return this.#isAccepted;
  }

  /** CONNACK was sent, and the session has no reason to end. */
  get isOpen(): boolean {
    return this.#isAccepted && this.#reason === undefined;
  }

  /** It ended before CONNACK was sent, otherwise than by the client. */
  get isGivenUp(): boolean {
    return this.#isFinishing;
  }

  /** CONNACK was sent: packets that were received meanwhile are processed, and queued messages are sent. */
  accepted(outgoing: OutgoingMessages): void {
    this.#isAccepted = true;
    this.outgoing = outgoing;
    outgoing.start();
    this.connection.continueReading();
  }

  /** Closes the connection after waiting bytes are sent. The first reason is the one that is reported. */
  end(reason: DisconnectReason, violation?: ProtocolViolation): void {
    const isFirst = this.#reason === undefined;
    this.recordReason(reason);
    this.connection.end(isFirst ? this.#lastPacket(reason, violation) : undefined);
    this.#finish();
  }

  /** Closes the connection at once, without another acknowledgement and without its will. */
  terminate(reason: DisconnectReason): void {
    const isFirst = this.#reason === undefined;
    this.recordReason(reason);
    this.acknowledgements.abandon();
    this.suppressesWill = true;
    this.connection.terminate(isFirst ? this.#lastPacket(reason) : undefined);
    this.#finish();
  }

  /** Resolves when nothing is left of the session but what is stored. */
  whenFinished(): Promise<void> {
    if (this.#isFinished) return Promise.resolve();
    return new Promise((resolve) => this.#finished.push(resolve));
  }

  /** Ends the session when no packet arrives for one and a half times `keepAlive` milliseconds [MQTT-3.1.2-24]. */
  startKeepAlive(keepAlive: number): void {
    const { connection } = this;
    this.#keepAlive = new KeepAliveTimer({
      timeout: keepAlive * 1.5,
      // While the socket is not read, packets cannot arrive.
      lastReceivedAt: () =>
        connection.isReadingPaused ? performance.now() : Math.max(this.#lastReceivedAt, connection.readingResumedAt),
      expired: () => this.end('keepalive_timeout'),
    });
  }

  /** A message for one of its subscriptions. Called once for each that matches. */
  receive(message: Message): void {
    if (message.number === this.#lastReceived || this.isEnded) return;
    const grant = this.subscriptions.grantFor(message.topic, message.clientId === this.facts.clientId);
    if (grant === undefined) return;
    this.#lastReceived = message.number;
    this.#deliver(message, grant, undefined);
  }

  /** A message that it was chosen for as a member of a shared subscription. */
  receiveShared(
    message: Message,
    share: string,
    member: {
      readonly qos: Qos;
      readonly retainAsPublished: boolean;
      readonly subscriptionIdentifier?: number | undefined;
    },
  ): void {
    if (this.isEnded) return;
    const { qos, retainAsPublished, subscriptionIdentifier: identifier } = member;
    const subscriptionIdentifiers = identifier === undefined ? undefined : [identifier];
    this.#deliver(message, { qos, retainAsPublished, subscriptionIdentifiers }, share);
  }

  #deliver(message: Message, grant: Grant, share: string | undefined): void {
    const qos = Math.min(grant.qos, message.qos) as Qos;
    if (qos === 0) {
      this.outgoing?.sendAtMostOnce(message, grant);
      return;
    }
    // The queue of a stored session has the message already: it was put there before the message was acknowledged.
    if (!this.isStored) this.#handlers.enqueue(this, message, { ...grant, qos }, share);
    this.outgoing?.wake();
  }

  // Called by the acknowledgement order.

  messageStored(): void {
    this.#listener.messageStored();
  }

  messageNotStored(error: unknown): void {
    this.storageFailed(error);
  }

  acknowledgementsAdvanced(): void {
    this.connection.continueReading();
  }

  /** Something that an acknowledgement waits for could not be stored. */
  storageFailed(error: unknown): void {
    if (!this.isEnded) this.#listener.storageFailed(this, error);
    this.end('storage_failed');
  }

  // Called by the connection: packets.

  mayReceive(first: number): boolean {
    if (!this.#isAccepted) return false;
    // Messages beyond the limit are not received yet. Clients that send without regard to Receive Maximum are slowed down by that.
    const isFull = this.acknowledgements.length + this.delivering >= this.#limits.inflight;
    if (isFull || this.connection.isPausedFor(PauseReason.storage)) return false;
    return !this.holdsPublishes || first >> 4 !== PacketType.publish;
  }

  /** The decoder refuses a second CONNECT. */
  connect(): void {}

  publish(packet: PublishPacket, bytes: number): void {
    if (!this.#isAdmitted(bytes)) return;
    this.lastMessageAt = this.#now();
    this.#handlers.publish.handle(this, packet);
  }

  acknowledgement(packet: AcknowledgementPacket, bytes: number): void {
    if (packet.type !== PacketType.pubrel && this.acknowledgementCredit > 0 && !this.isEnded) {
      this.acknowledgementCredit -= 1;
      this.#lastReceivedAt = performance.now();
    } else if (!this.#isAdmitted(bytes)) return;
    this.#handlers.acknowledgement.handle(this, packet);
  }

  subscribe(packet: SubscribePacket, bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#handlers.subscribe.handle(this, packet);
  }

  unsubscribe(packet: UnsubscribePacket, bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#handlers.unsubscribe.handle(this, packet);
  }

  pingreq(bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#handlers.pingreq.handle(this);
  }

  disconnect(packet: DisconnectPacket, bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#handlers.disconnect.handle(this, packet);
  }

  // Called by the connection: what goes wrong.

  protocolViolated(violation: ProtocolViolation): void {
    if (this.isEnded) return;
    this.#listener.protocolViolated(this, violation);
    this.end(violation.isLimit ? 'limit_exceeded' : 'protocol_violation', violation);
  }

  sendBufferOverflowed(): void {
    this.end('slow_consumer');
  }

  failed(error: unknown): void {
    this.#listener.failed(this, error);
    this.terminate('server_error');
  }

  socketClosed(): void {
    this.recordReason(this.sawDisconnect ? 'client_disconnected' : 'connection_lost');
  }

  readToEnd(): void {
    this.recordReason(this.sawDisconnect ? 'client_disconnected' : 'connection_lost');
    this.#finish();
  }

  recordReason(reason: DisconnectReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#keepAlive?.stop();
    this.outgoing?.stop();
    this.#listener.ending(this, reason);
  }

  #finish(): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    const settled = () => {
      this.#isFinished = true;
      for (const resolve of this.#finished) resolve();
      this.#finished = [];
    };
    const finishing = this.#listener.finished(this);
    if (finishing === undefined) settled();
    else finishing.then(settled, settled);
  }

  #lastPacket(reason: DisconnectReason, violation?: ProtocolViolation): Buffer | undefined {
    return this.isMqtt5 && this.#isAccepted ? disconnectPacket(reason, violation) : undefined;
  }

  /**
   * Counts a packet against the rate of the client. False: the session has ended, and the packet is dropped. Packets that were received
   * before the client closed the connection are still processed.
   */
  #isAdmitted(bytes: number): boolean {
    if (this.#reason !== undefined && this.#reason !== 'connection_lost' && this.#reason !== 'client_disconnected') {
      return false;
    }
    this.#lastReceivedAt = performance.now();
    return !this.#rate.isLimited || this.#rate.count(bytes) || this.#throttle();
  }

  /** Pauses reading while the client is above its rate. False: it was for too long, and the session is ended. */
  #throttle(): boolean {
    const seconds = this.#rate.check(this.#now());
    if (seconds === undefined) {
      this.end('rate_exceeded');
      return false;
    }
    if (seconds === 0) return true;
    this.connection.pauseReading(PauseReason.rate);
    clearTimeout(this.#resumeTimer);
    this.#resumeTimer = setTimeout(resume, Math.ceil(seconds * 1000), this.connection).unref();
    return true;
  }
}

/** Parses a telemetry topic of this identity; undefined for every other topic. */
export function ownTelemetry(identity: Identity, topic: string): OwnTelemetry | undefined {
  const parsed = identity.kind === 'device' ? parseDeviceTopic(topic) : undefined;
  if (parsed?.kind !== 'telemetry' || identity.kind !== 'device' || parsed.device !== identity.id) return undefined;
  const { device, stream, key } = parsed;
  return { topic: key === undefined ? topic : telemetryTopic(device, stream), stream, key };
}

function resume(connection: MqttConnection): void {
  connection.resumeReading(PauseReason.rate);
}
