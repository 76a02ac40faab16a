/**
 * A connection with a valid certificate whose CONNECT is not complete or not decided. It ends once: refused, closed by the
 * client, past its deadline, or handed over to a session. The connection authorizer decides.
 */

import type { TLSSocket } from 'node:tls';
import type { Identity } from '@rollcall/protocol';
import { CONNACK_CODE, type ConnectionRefusals, connackFor } from '../access/connection-refusals.ts';
import type { PeerCertificate } from '../access/peer-certificate.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';
import { type ConnectionOwner, MqttConnection } from '../mqtt/connection.ts';
import type { ConnectFields } from '../mqtt/packet-validation.ts';
import type { ProtocolViolation } from '../mqtt/protocol-violations.ts';
import type { ConnectionSlot } from './connection-slot.ts';

/** The authorizer, as a pending connection sees it. */
export interface PendingConnectionOwner {
  readonly report: ConnectionRefusals['report'];
  remove(pending: PendingConnection): void;
  authorizationFailed(error: unknown, address: string): void;
}

export class PendingConnection implements ConnectionOwner {
  readonly connection: MqttConnection;
  readonly peer: PeerCertificate;
  readonly address: string;
  /** Resolves with CONNECT; with undefined when the connection ended before it. */
  readonly connect: Promise<ConnectFields | undefined>;
  identity: Identity | undefined;
  /** It has ended the live session of its client id. */
  hasTakenOver = false;
  /** The first use of its certificate was recorded. */
  isRecordedAsUsed = false;
  readonly #owner: PendingConnectionOwner;
  readonly #slot: ConnectionSlot;
  #resolveConnect: (connect: ConnectFields | undefined) => void = () => {};
  #hasEnded = false;

  constructor(
    owner: PendingConnectionOwner,
    socket: TLSSocket,
    peer: PeerCertificate,
    slot: ConnectionSlot,
    limits: BrokerLimits,
  ) {
    this.#owner = owner;
    this.peer = peer;
    this.address = slot.address;
    this.#slot = slot;
    this.connect = new Promise((resolve) => {
      this.#resolveConnect = resolve;
    });
    slot.onTimeout(() => this.refuse('connect_timeout'));
    this.connection = new MqttConnection(socket, limits, this);
  }

  refuse(reason: ConnectFailure, detail?: string): void {
    if (this.#hasEnded) return;
    this.release();
    const { certificate } = this.peer;
    this.#owner.report(reason, this.address, { detail, certificate, identity: this.identity });
    this.connection.end(connackFor(reason));
  }

  /** It is not pending any more: refused, closed, or a session. */
  release(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#slot.release();
    this.#owner.remove(this);
    this.#resolveConnect(undefined);
  }

  connectReceived(connect: ConnectFields): void {
    this.#resolveConnect(connect);
  }

  protocolViolated(violation: ProtocolViolation): void {
    if (violation.connack === CONNACK_CODE.version) this.refuse('protocol_version', violation.description);
    else if (violation.connack === CONNACK_CODE.identifier) this.refuse('client_id_missing', violation.description);
    else this.refuse('protocol_violation', `${violation.clause}: ${violation.description}`);
  }

  packetReceived(): boolean {
    return !this.#hasEnded;
  }

  failed(error: unknown): void {
    this.#owner.authorizationFailed(error, this.address);
    this.refuse('registry_failed');
  }

  sendBufferOverflowed(): void {
    this.refuse('protocol_violation', 'sent without reading');
  }

  socketClosed(): void {
    this.#slot.abandon();
    this.release();
  }

  engineFailed(): void {}

  engineFinished(): void {}
}
