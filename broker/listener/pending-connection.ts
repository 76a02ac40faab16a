/**
 * A connection whose CONNECT is not complete or not decided. It ends once: refused, closed by the client, past its deadline, or handed over
 * to a session. The connection authorizer decides. A refusal waits for CONNECT, which states the version to answer in.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { type Identity, ReasonCode } from '@rollcall/protocol';
import type { ConnectionRefusals } from '../access/connection-refusals.ts';
import type { PeerCertificate } from '../access/peer-certificate.ts';
import { refusalConnack, violationConnack } from '../access/refusal-explanations.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';
import type { ByteStream } from '../mqtt/byte-stream.ts';
import { PROPERTY_LIMITS } from '../mqtt/codec/packet-limits.ts';
import type { ProtocolViolation } from '../mqtt/codec/protocol-violations.ts';
import { type ConnectionOwner, MqttConnection } from '../mqtt/connection.ts';
import type { ConnectPacket } from '../mqtt/packets.ts';
import type { ConnectionSlot } from './connection-slot.ts';

/** The authorizer, as a pending connection sees it. */
export interface PendingConnectionOwner {
  readonly report: ConnectionRefusals['report'];
  remove(pending: PendingConnection): void;
  authorizationFailed(error: unknown, address: string): void;
}

/** What a listener hands over. */
export interface ConnectionParts {
  readonly tls: TLSSocket;
  /** MQTT: the TLS socket itself, or a WebSocket connection on it. */
  readonly stream: ByteStream;
  readonly slot: ConnectionSlot;
}

/** How long a refused connection may take to send CONNECT, in ms, so that it is told why. */
const ANSWER_WAIT_MS = 1_000;

export class PendingConnection implements ConnectionOwner {
  /** The certificate of the client is that of its TLS socket, also where a WebSocket connection carries the bytes. */
  readonly tls: TLSSocket;
  readonly connection: MqttConnection;
  readonly address: string;
  /** Resolves with CONNECT; with undefined when the connection ended before it. */
  readonly connectPacket: Promise<ConnectPacket | undefined>;
  /** Undefined: the certificate was refused. */
  readonly peer: PeerCertificate | undefined;
  identity: Identity | undefined;
  /** It has ended the live session of its client id. */
  hasTakenOver = false;
  /** The first use of its certificate was recorded. */
  isRecordedAsUsed = false;
  readonly #owner: PendingConnectionOwner;
  readonly #slot: ConnectionSlot;
  #resolveConnect: (connect: ConnectPacket | undefined) => void = () => {};
  #client: ConnectPacket | undefined;
  /** It is decided that it is refused; CONNACK waits for CONNECT. */
  #refusal: ConnectFailure | undefined;
  #hasEnded = false;

  constructor(
    owner: PendingConnectionOwner,
    { tls, stream, slot }: ConnectionParts,
    peer: PeerCertificate | undefined,
    limits: BrokerLimits,
  ) {
    this.#owner = owner;
    this.tls = tls;
    this.peer = peer;
    this.address = slot.address;
    this.#slot = slot;
    this.connectPacket = new Promise((resolve) => {
      this.#resolveConnect = resolve;
    });
    slot.onTimeout(() => this.#timedOut());
    this.connection = new MqttConnection(stream, { ...limits, ...PROPERTY_LIMITS }, this);
  }

  /** Reports the refusal at once, and answers as soon as CONNECT is there. */
  refuse(
    reason: ConnectFailure,
    detail?: string,
    certificate: X509Certificate | undefined = this.peer?.certificate,
  ): void {
    if (this.#hasEnded || this.#refusal !== undefined) return;
    this.#refusal = reason;
    this.#resolveConnect(undefined);
    this.#owner.report(reason, this.address, { detail, certificate, identity: this.identity });
    if (this.#client !== undefined) this.#end(refusalConnack(reason, this.#client));
    else setTimeout(() => this.#end(undefined), ANSWER_WAIT_MS).unref();
  }

  /** It is not pending any more: refused, closed, or a session. */
  release(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#slot.release();
    this.#owner.remove(this);
    this.#resolveConnect(undefined);
  }

  // Called by the connection.

  /** Packets after CONNECT wait for the session. */
  mayReceive(): boolean {
    return this.#client === undefined;
  }

  connect(packet: ConnectPacket): void {
    this.#client = packet;
    if (this.#refusal === undefined) this.#resolveConnect(packet);
    else this.#end(refusalConnack(this.#refusal, packet));
  }

  publish(): void {}
  acknowledgement(): void {}
  subscribe(): void {}
  unsubscribe(): void {}
  pingreq(): void {}
  disconnect(): void {}

  protocolViolated(violation: ProtocolViolation): void {
    if (this.#hasEnded) return;
    const { connack, clause, description, packet } = violation;
    const { version } = this.connection;
    const client = version && { version, maximumPacketSize: Number.POSITIVE_INFINITY };
    if (this.#refusal === undefined) {
      const isVersion = connack === ReasonCode.unsupportedProtocolVersion;
      const isClientId = connack === ReasonCode.clientIdentifierNotValid;
      const reason = isVersion ? 'protocol_version' : isClientId ? 'client_id_missing' : 'protocol_violation';
      const detail = isVersion || isClientId ? description : `${packet}: ${clause}: ${description}`;
      this.#owner.report(reason, this.address, {
        detail,
        certificate: this.peer?.certificate,
        identity: this.identity,
      });
    }
    this.#end(
      this.#refusal === undefined ? violationConnack(violation, client) : refusalConnack(this.#refusal, client),
    );
  }

  failed(error: unknown): void {
    this.#owner.authorizationFailed(error, this.address);
    this.refuse('registry_failed');
  }

  sendBufferOverflowed(): void {
    this.#end(undefined);
  }

  socketClosed(): void {
    this.#slot.abandon();
    this.release();
  }

  readToEnd(): void {}

  #timedOut(): void {
    if (this.#refusal === undefined) this.refuse('connect_timeout');
    this.#end(undefined);
  }

  #end(last: Buffer | undefined): void {
    if (this.#hasEnded) return;
    this.release();
    this.connection.end(last);
  }
}
