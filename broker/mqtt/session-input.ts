/**
 * What one session receives: each packet is counted against the rate of the client and given to its handler; what goes wrong on the
 * connection ends the session. Also the keep-alive, which counts from the last packet.
 */

import type { BrokerLimits } from '../broker-limits.ts';
import type { Session } from '../sessions/session.ts';
import { ClientRate } from './client-rate.ts';
import type { ProtocolViolation } from './codec/protocol-violations.ts';
import type { ConnectionOwner, MqttConnection } from './connection.ts';
import { KeepAliveTimer } from './keep-alive.ts';
import {
  type AcknowledgementPacket,
  type DisconnectPacket,
  PacketType,
  type PublishPacket,
  type SubscribePacket,
  type UnsubscribePacket,
} from './packets.ts';
import { PauseReason } from './receive-loop.ts';
import type { SessionHandlers } from './session-handlers.ts';

export interface SessionInputOptions {
  readonly limits: BrokerLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly handlers: SessionHandlers;
  readonly protocolViolated: (session: Session, violation: ProtocolViolation) => void;
  readonly failed: (session: Session, error: unknown) => void;
}

export class SessionInput implements ConnectionOwner {
  readonly #session: Session;
  readonly #options: SessionInputOptions;
  readonly #rate: ClientRate;
  #resumeTimer: NodeJS.Timeout | undefined;
  #lastReceivedAt = performance.now();
  #keepAlive: KeepAliveTimer | undefined;
  /** Acknowledgements that are exempt from the rate limit, because they answer messages that the client was sent. */
  #credit = 0;

  constructor(session: Session, options: SessionInputOptions) {
    this.#session = session;
    this.#options = options;
    this.#rate = new ClientRate(options.limits, session.facts.connectedAt);
  }

  /** Ends the session when no packet arrives for one and a half times `keepAlive` milliseconds [MQTT-3.1.2-24]. */
  startKeepAlive(keepAlive: number): void {
    const { connection } = this.#session;
    this.#keepAlive = new KeepAliveTimer({
      timeout: keepAlive * 1.5,
      // While the socket is not read, packets cannot arrive.
      lastReceivedAt: () =>
        connection.isReadingPaused ? performance.now() : Math.max(this.#lastReceivedAt, connection.readingResumedAt),
      expired: () => this.#session.end('keepalive_timeout'),
    });
  }

  stop(): void {
    this.#keepAlive?.stop();
  }

  /** So many acknowledgements of a message that was sent are not counted. */
  expectAcknowledgements(count: number): void {
    this.#credit += count;
  }

  // Called by the connection: packets.

  mayReceive(first: number): boolean {
    const session = this.#session;
    if (!session.wasAccepted) return false;
    // Messages beyond the limit are not received yet. Clients that send without regard to Receive Maximum are slowed down by that.
    const isFull = session.acknowledgements.length + session.delivering >= this.#options.limits.inflight;
    if (isFull || session.connection.isPausedFor(PauseReason.storage)) return false;
    return !session.holdsPublishes || first >> 4 !== PacketType.publish;
  }

  /** Whole milliseconds since the last packet was received. */
  get silentFor(): number {
    return Math.round(performance.now() - this.#lastReceivedAt);
  }

  /** The decoder refuses a second CONNECT. */
  connect(): void {}

  publish(packet: PublishPacket, bytes: number): void {
    if (!this.#isAdmitted(bytes)) return;
    this.#session.lastMessageAt = this.#options.now();
    this.#options.handlers.publish.handle(this.#session, packet);
  }

  acknowledgement(packet: AcknowledgementPacket, bytes: number): void {
    if (packet.type !== PacketType.pubrel && this.#credit > 0 && !this.#session.isEnded) {
      this.#credit -= 1;
      this.#lastReceivedAt = performance.now();
    } else if (!this.#isAdmitted(bytes)) return;
    this.#options.handlers.acknowledgement.handle(this.#session, packet);
  }

  subscribe(packet: SubscribePacket, bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#options.handlers.subscribe.handle(this.#session, packet);
  }

  unsubscribe(packet: UnsubscribePacket, bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#options.handlers.unsubscribe.handle(this.#session, packet);
  }

  pingreq(bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#options.handlers.pingreq.handle(this.#session);
  }

  disconnect(packet: DisconnectPacket, bytes: number): void {
    if (this.#isAdmitted(bytes)) this.#options.handlers.disconnect.handle(this.#session, packet);
  }

  // Called by the connection: what goes wrong, and its end.

  protocolViolated(violation: ProtocolViolation): void {
    const session = this.#session;
    if (session.isEnded) return;
    this.#options.protocolViolated(session, violation);
    session.end(violation.isLimit ? 'limit_exceeded' : 'protocol_violation', { violation });
  }

  sendBufferOverflowed(): void {
    this.#session.end('slow_consumer');
  }

  failed(error: unknown): void {
    this.#options.failed(this.#session, error);
    this.#session.terminate('server_error');
  }

  socketClosed(): void {
    this.#session.connectionClosed();
  }

  readToEnd(): void {
    this.#session.readToEnd();
  }

  /**
   * Counts a packet against the rate of the client. False: the session has ended, and the packet is dropped. Packets that were received
   * before the client closed the connection are still processed.
   */
  #isAdmitted(bytes: number): boolean {
    const { reason } = this.#session;
    if (reason !== undefined && reason !== 'connection_lost' && reason !== 'client_disconnected') return false;
    this.#lastReceivedAt = performance.now();
    return !this.#rate.isLimited || this.#rate.count(bytes) || this.#throttle();
  }

  /** Pauses reading while the client is above its rate. False: it was for too long, and the session is ended. */
  #throttle(): boolean {
    const session = this.#session;
    const seconds = this.#rate.check(this.#options.now());
    if (seconds === undefined) {
      session.end('rate_exceeded');
      return false;
    }
    if (seconds === 0) return true;
    session.connection.pauseReading(PauseReason.rate);
    clearTimeout(this.#resumeTimer);
    this.#resumeTimer = setTimeout(resume, Math.ceil(seconds * 1000), session.connection).unref();
    return true;
  }
}

function resume(connection: MqttConnection): void {
  connection.resumeReading(PauseReason.rate);
}
