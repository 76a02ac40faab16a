/**
 * A connection with a good certificate that is not a session yet: it waits for its CONNECT, within the door's time, and
 * leaves once - refused, gone, or let in. The decision is the connection gate's.
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
import type { ConnectionSlot } from './connection-limiter.ts';

export interface PendingConnectionOwner {
  readonly report: ConnectionRefusals['report'];
  forget(pending: PendingConnection): void;
  fail(error: unknown, address: string): void;
}

export class PendingConnection implements ConnectionOwner {
  readonly connection: MqttConnection;
  readonly peer: PeerCertificate;
  readonly address: string;
  /** Its CONNECT packet; undefined when none will come. */
  readonly connect: Promise<ConnectFields | undefined>;
  identity: Identity | undefined;
  hasTakenOver = false;
  isRecordedAsUsed = false;
  readonly #gate: PendingConnectionOwner;
  readonly #slot: ConnectionSlot | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #gotConnect: (connect: ConnectFields | undefined) => void = () => {};
  #hasLeft = false;

  constructor(
    gate: PendingConnectionOwner,
    socket: TLSSocket,
    peer: PeerCertificate,
    address: string,
    slot: ConnectionSlot | undefined,
    limits: BrokerLimits,
  ) {
    this.#gate = gate;
    this.peer = peer;
    this.address = address;
    this.#slot = slot;
    this.connect = new Promise((resolve) => {
      this.#gotConnect = resolve;
    });
    const timedOut = () => this.refuse('connect_timeout');
    if (slot !== undefined) slot.onTimeout(timedOut);
    else this.#timer = setTimeout(timedOut, limits.connectTimeout);
    this.connection = new MqttConnection(socket, limits, this);
  }

  refuse(reason: ConnectFailure, detail?: string): void {
    if (this.#hasLeft) return;
    this.leave();
    const { certificate } = this.peer;
    this.#gate.report(reason, this.address, { detail, certificate, identity: this.identity });
    this.connection.end(connackFor(reason));
  }

  /** It is no longer on its way: refused, gone, or a session. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#slot?.release();
    clearTimeout(this.#timer);
    this.#gate.forget(this);
    this.#gotConnect(undefined);
  }

  connectReceived(connect: ConnectFields): void {
    this.#gotConnect(connect);
  }

  protocolViolated(violation: ProtocolViolation): void {
    if (violation.connack === CONNACK_CODE.version) this.refuse('protocol_version', violation.description);
    else if (violation.connack === CONNACK_CODE.identifier) this.refuse('client_id_missing', violation.description);
    else this.refuse('protocol_violation', `${violation.clause}: ${violation.description}`);
  }

  packetReceived(): boolean {
    return !this.#hasLeft;
  }

  failed(error: unknown): void {
    this.#gate.fail(error, this.address);
    this.refuse('registry_failed');
  }

  sendBufferOverflowed(): void {
    this.refuse('protocol_violation', 'sent without reading');
  }

  socketClosed(): void {
    this.#slot?.abandon();
    this.leave();
  }

  engineFailed(): void {}

  engineFinished(): void {}
}
