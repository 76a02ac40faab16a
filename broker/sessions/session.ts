/**
 * One connected session: identity, rights and subscriptions, and what it receives from others. Ends for exactly one reason, and is finished
 * when what it leaves behind is in order: subscriptions, stored state, will. `SessionInput` receives its packets.
 */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Rights, Subject } from '../access/acl.ts';
import type { DisconnectReason } from '../events.ts';
import type { ConnectedClient } from '../keeper/connected-clients.ts';
import type { Claimant, ClaimedSession, ClaimRules, SessionRecord } from '../keeper/sessions.ts';
import { AcknowledgementOrder, type AcknowledgementOrderListener } from '../mqtt/acknowledgement-order.ts';
import type { MqttConnection } from '../mqtt/connection.ts';
import { type DisconnectAbout, disconnectPacket } from '../mqtt/disconnect-reasons.ts';
import type { Message } from '../mqtt/message.ts';
import type { OutgoingMessages } from '../mqtt/outgoing-messages.ts';
import type { ConnectPacket, Qos } from '../mqtt/packets.ts';
import { PublishTopics } from '../mqtt/publish-topics.ts';
import { SessionInput, type SessionInputOptions } from '../mqtt/session-input.ts';
import { type Grant, SessionSubscriptions, type Subscription } from '../mqtt/session-subscriptions.ts';
import type { ReceivedAliases } from '../mqtt/topic-aliases.ts';
import type { LiveSession } from './live-sessions.ts';

export interface SessionFacts {
  readonly subject: Subject;
  /** Number of the connection; 0 before its state is claimed. */
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
  messageStored(): void;
  storageFailed(session: Session, error: unknown): void;
}

export interface SessionOptions {
  readonly facts: SessionFacts;
  readonly connection: MqttConnection;
  readonly connectPacket: ConnectPacket;
  readonly rights: Rights;
  readonly claimRules: ClaimRules;
  readonly input: SessionInputOptions;
  readonly listener: SessionListener;
}

/** As many as a client may have unacknowledged. */
const RECENT_KEYS = 100;

export class Session implements AcknowledgementOrderListener, Claimant, ConnectedClient {
  facts: SessionFacts;
  readonly connection: MqttConnection;
  readonly connectPacket: ConnectPacket;
  readonly claimRules: ClaimRules;
  readonly input: SessionInput;
  readonly acknowledgements: AcknowledgementOrder;
  readonly subscriptions = new SessionSubscriptions();
  readonly publishTopics: PublishTopics;
  rights: Rights;
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
  /** It may have messages of QoS 2 that are not released. */
  usesQos2 = false;
  /** Its connection was reported, so that its end has to be. */
  isReported = false;
  /** Entries of `DeliveredKeys` for its last messages with a key. */
  recentKeys: string[] | undefined;
  /** It has sent telemetry. */
  sendsTelemetry = false;
  /** Its PUBLISH packets are left unread. */
  holdsPublishes = false;
  /** DISCONNECT was received. */
  sawDisconnect = false;
  onGivenUp: (() => void) | undefined;
  /** Its will is not published: the client or an operator wants none. */
  suppressesWill = false;
  readonly #listener: SessionListener;
  #claimed: ClaimedSession | undefined;
  #isAccepted = false;
  #reason: DisconnectReason | undefined;
  #isFinishing = false;
  #isFinished = false;
  #finished: (() => void)[] = [];
  /** Number of the message that was last delivered: aedes delivers once for each matching filter. */
  #lastReceived = 0;

  constructor({ facts, connection, connectPacket, rights, claimRules, input, listener }: SessionOptions) {
    this.facts = facts;
    this.connection = connection;
    this.connectPacket = connectPacket;
    this.rights = rights;
    this.claimRules = claimRules;
    this.sessionExpiryInterval = connectPacket.sessionExpiryInterval;
    this.#listener = listener;
    this.input = new SessionInput(this, input);
    this.acknowledgements = new AcknowledgementOrder(this);
    this.publishTopics = new PublishTopics(facts.subject.identity);
  }

  /** For events. */
  get eventFields(): { identity: Identity; clientId: string; address: string; serial: string; sequence: number } {
    const { subject, clientId, address, serial, sequence } = this.facts;
    return { identity: subject.identity, clientId, address, serial, sequence };
  }

  /** For the claim of its state. */
  get connectionFacts(): Pick<LiveSession, 'address' | 'serial' | 'connectedAt' | 'notAfter'> {
    const { address, serial, connectedAt, notAfter } = this.facts;
    return { address, serial, connectedAt, notAfter };
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

  /** Its state. Throws before {@link claimed} was called: no packet is processed before. */
  get record(): SessionRecord {
    if (this.#claimed === undefined) throw new Error('expected a session whose state is claimed');
    return this.#claimed.record;
  }

  get isClaimed(): boolean {
    return this.#claimed !== undefined;
  }

  /** Its state outlives the connection, and is on disk. */
  get isStored(): boolean {
    return this.#claimed?.isStored === true;
  }

  /** For {@link ConnectedClient}. */
  get filters(): Iterable<Subscription> {
    return this.subscriptions.all();
  }

  /** Its client does not read or acknowledge as fast as messages come. */
  get isBehind(): boolean {
    return this.outgoing?.isBehind === true;
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

  /** Before CONNACK was sent: it has ended, and nothing that its client sent is left to process. */
  get isGivenUp(): boolean {
    return this.#isFinishing;
  }

  claimed(claimed: ClaimedSession): void {
    this.facts = { ...this.facts, sequence: claimed.sequence };
    this.#claimed = claimed;
    this.usesQos2 = claimed.record.incoming.size > 0;
  }

  /** Its claim was refused, so it never was a session. Closes the connection after this CONNACK is sent. */
  refuse(connack: Buffer | undefined): void {
    this.recordReason('limit_exceeded');
    this.connection.end(connack);
    this.#finish();
  }

  /** CONNACK was sent: packets that were received meanwhile are processed, and queued messages are sent. */
  accepted(outgoing: OutgoingMessages): void {
    this.#isAccepted = true;
    this.outgoing = outgoing;
    outgoing.start();
    this.connection.continueReading();
  }

  /** Closes the connection after waiting bytes are sent. The first reason is the one that is reported. */
  end(reason: DisconnectReason, about?: DisconnectAbout): void {
    const isFirst = this.#reason === undefined;
    this.recordReason(reason);
    this.connection.end(isFirst ? this.#lastPacket(reason, about) : undefined);
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

  keyDelivered(key: string): void {
    this.recentKeys ??= [];
    this.recentKeys.push(key);
    if (this.recentKeys.length > RECENT_KEYS) this.recentKeys.shift();
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
    if (!this.isStored) {
      const retain = message.retain && grant.retainAsPublished;
      const { subscriptionIdentifiers } = grant;
      this.#claimed?.record.enqueue(message, { qos, retain, subscriptionIdentifiers, share });
    }
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

  // Called by the input.

  /** Packets that were received before are still processed. */
  connectionClosed(): void {
    this.recordReason(this.sawDisconnect ? 'client_disconnected' : 'connection_lost');
  }

  /** The connection is closed, and everything that was received is processed. */
  readToEnd(): void {
    this.connectionClosed();
    this.#finish();
  }

  recordReason(reason: DisconnectReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.input.stop();
    this.outgoing?.stop();
    this.#listener.ending(this, reason);
  }

  #finish(): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    this.onGivenUp?.();
    const settled = () => {
      this.#isFinished = true;
      for (const resolve of this.#finished) resolve();
      this.#finished = [];
    };
    const finishing = this.#listener.finished(this);
    if (finishing === undefined) settled();
    else finishing.then(settled, settled);
  }

  #lastPacket(reason: DisconnectReason, about?: DisconnectAbout): Buffer | undefined {
    if (!this.isMqtt5 || !this.#isAccepted) return undefined;
    return disconnectPacket(reason, this.connectPacket.maximumPacketSize, about);
  }
}
