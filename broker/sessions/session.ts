/**
 * One connected session: identity, rights, subscriptions, acknowledgement order, keep-alive and rate limits. Ends for exactly one
 * reason, and is finished when aedes has released it.
 */

import { formatIdentity, type Identity, Problem, parseDeviceTopic, telemetryTopic } from '@rollcall/protocol';
import type { Rights, Subject } from '../access/acl.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { DisconnectReason } from '../events.ts';
import { AcknowledgementOrder, type AcknowledgementOrderListener } from '../mqtt/acknowledgement-order.ts';
import { ClientRate } from '../mqtt/client-rate.ts';
import type { ConnectionOwner, MqttConnection } from '../mqtt/connection.ts';
import { KeepAliveTimer } from '../mqtt/keep-alive.ts';
import { type DecodedPacket, PacketType } from '../mqtt/packet-decoder.ts';
import type { ProtocolViolation } from '../mqtt/protocol-violations.ts';
import { PauseReason } from '../mqtt/receive-loop.ts';
import type { AedesClient } from '../routing/aedes-engine.ts';
import { GrantedFilters } from '../routing/granted-filters.ts';
import type { ReplayState } from './queue-replay.ts';

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
  /** aedes has released the session. Called once, after `ending`. */
  finished(session: Session): void;
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

export class Session implements ConnectionOwner, AcknowledgementOrderListener {
  facts: SessionFacts;
  readonly connection: MqttConnection;
  readonly acknowledgements: AcknowledgementOrder;
  rights: Rights;
  aedesClient: AedesClient | undefined;
  /** aedes has finished with CONNECT. */
  isConnectFinished = false;
  /** When its last PUBLISH was received, in milliseconds since the epoch. */
  lastMessageAt: number | undefined;
  /** It has sent telemetry. */
  sendsTelemetry = false;
  readonly filters = new GrantedFilters();
  /** Acknowledgements that are exempt from its rate limit, because they answer messages that it was sent. */
  acknowledgementCredit = 0;
  /** Number of the message that was last delivered to it. */
  lastForwarded = -1;
  /** The replay of its queue: running or finished. */
  replay: ReplayState | undefined;
  readonly #now: () => number;
  readonly #listener: SessionListener;
  #reason: DisconnectReason | undefined;
  #isFinished = false;
  #finished: (() => void)[] = [];
  readonly #rate: ClientRate;
  #resumeTimer: NodeJS.Timeout | undefined;
  #readTopic: string | undefined;
  #ownTelemetry: OwnTelemetry | undefined;
  #lastReceivedAt = performance.now();
  #keepAlive: KeepAliveTimer | undefined;

  constructor(
    facts: SessionFacts,
    connection: MqttConnection,
    rights: Rights,
    limits: BrokerLimits,
    now: () => number,
    listener: SessionListener,
  ) {
    this.facts = facts;
    this.connection = connection;
    this.rights = rights;
    this.#now = now;
    this.#listener = listener;
    this.#rate = new ClientRate(limits, facts.connectedAt);
    this.acknowledgements = new AcknowledgementOrder(this);
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

  get reason(): DisconnectReason | undefined {
    return this.#reason;
  }

  get isEnded(): boolean {
    return this.#reason !== undefined;
  }

  /** Closes the connection after waiting bytes are sent. The first reason is the one that is reported. */
  end(reason: DisconnectReason): void {
    this.recordReason(reason);
    this.connection.end();
  }

  /** Closes the connection at once, without another acknowledgement and without its will. */
  terminate(reason: DisconnectReason): void {
    this.recordReason(reason);
    this.acknowledgements.abandon();
    this.suppressWill();
    this.connection.terminate();
  }

  /** Records why the session ends; the caller or aedes closes the connection. */
  recordReason(reason: DisconnectReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#keepAlive?.stop();
    this.#listener.ending(this, reason);
  }

  suppressWill(): void {
    if (this.aedesClient === undefined) return;
    this.aedesClient.will = null;
    this.aedesClient._will = null;
  }

  /** Resolves when aedes has released the session. */
  whenFinished(): Promise<void> {
    if (this.#isFinished) return Promise.resolve();
    return new Promise((resolve) => this.#finished.push(resolve));
  }

  /** Parses a telemetry topic of this device; undefined for every other topic. */
  ownTelemetry(topic: string): OwnTelemetry | undefined {
    if (topic === this.#readTopic) return this.#ownTelemetry;
    const own = ownTelemetry(this.facts.subject.identity, topic);
    this.#readTopic = topic;
    this.#ownTelemetry = own;
    return own;
  }

  /** Ends the session when no packet arrives for one and a half times `keepalive` milliseconds [MQTT-3.1.2-24]. */
  startKeepAlive(keepalive: number): void {
    const { connection } = this;
    this.#keepAlive?.stop();
    this.#keepAlive = new KeepAliveTimer({
      timeout: keepalive * 1.5,
      // While the socket is not read, packets cannot arrive.
      lastReceivedAt: () =>
        connection.isReadingPaused ? performance.now() : Math.max(this.#lastReceivedAt, connection.readingResumedAt),
      expired: () => this.end('keepalive_timeout'),
    });
  }

  // Called by the acknowledgement order.

  messageStored(): void {
    this.#listener.messageStored();
  }

  messageNotStored(error: unknown): void {
    this.#listener.storageFailed(this, error);
    this.end('storage_failed');
  }

  acknowledgementsAdvanced(): void {
    this.connection.continueReading();
  }

  // Called by the connection.

  connectReceived(): void {}

  protocolViolated(violation: ProtocolViolation): void {
    this.#listener.protocolViolated(this, violation);
    this.end(violation.clause === 'limit' ? 'limit_exceeded' : 'protocol_violation');
  }

  packetReceived(packet: DecodedPacket): boolean {
    if (this.isEnded) return false;
    this.#lastReceivedAt = performance.now();
    if (packet.type === PacketType.publish) this.lastMessageAt = this.#now();
    if (!this.#rate.isLimited) return true;
    if (isAcknowledgement(packet.type) && this.acknowledgementCredit > 0) {
      this.acknowledgementCredit -= 1;
      return true;
    }
    return this.#rate.count(packet.end - packet.start) || this.#throttle();
  }

  sendBufferOverflowed(): void {
    this.end('slow_consumer');
  }

  failed(error: unknown): void {
    this.#listener.failed(this, error);
    this.terminate('server_error');
  }

  socketClosed(): void {
    this.recordReason(this.connection.sawDisconnect ? 'client_disconnected' : 'connection_lost');
  }

  engineFailed(error: Error): void {
    if (this.isEnded) return;
    if (error instanceof Problem && error.code === 'unavailable') {
      this.#listener.storageFailed(this, error);
      this.recordReason('storage_failed');
      return;
    }
    const isWindow = error.message.startsWith('maxInflightInbound');
    if (!isWindow) this.#listener.failed(this, error);
    this.recordReason(isWindow ? 'limit_exceeded' : 'server_error');
  }

  engineFinished(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.recordReason(this.connection.sawDisconnect ? 'client_disconnected' : 'server_error');
    this.#listener.finished(this);
    for (const resolve of this.#finished) resolve();
    this.#finished = [];
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

function isAcknowledgement(type: number): boolean {
  return type === PacketType.puback || type === PacketType.pubrec || type === PacketType.pubcomp;
}

function resume(connection: MqttConnection): void {
  connection.resumeReading(PauseReason.rate);
}
