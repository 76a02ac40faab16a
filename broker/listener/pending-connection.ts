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
  forget(newcomer: PendingConnection): void;
  fail(error: unknown, address: string): void;
}

export class PendingConnection implements ConnectionOwner {
  readonly wire: MqttConnection;
  readonly peer: PeerCertificate;
  readonly address: string;
  /** Its CONNECT packet; undefined when none will come. */
  readonly connect: Promise<ConnectFields | undefined>;
  identity: Identity | undefined;
  hasTakenOver = false;
  hasProven = false;
  readonly #gate: PendingConnectionOwner;
  readonly #half: ConnectionSlot | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #gotConnect: (connect: ConnectFields | undefined) => void = () => {};
  #hasLeft = false;

  constructor(
    gate: PendingConnectionOwner,
    socket: TLSSocket,
    peer: PeerCertificate,
    address: string,
    half: ConnectionSlot | undefined,
    limits: BrokerLimits,
  ) {
    this.#gate = gate;
    this.peer = peer;
    this.address = address;
    this.#half = half;
    this.connect = new Promise((resolve) => {
      this.#gotConnect = resolve;
    });
    const timedOut = () => this.refuse('connect_timeout');
    if (half !== undefined) half.onTimeout(timedOut);
    else this.#timer = setTimeout(timedOut, limits.connectTimeout);
    this.wire = new MqttConnection(socket, limits, this);
  }

  refuse(reason: ConnectFailure, detail?: string): void {
    if (this.#hasLeft) return;
    this.leave();
    const { certificate } = this.peer;
    this.#gate.report(reason, this.address, { detail, certificate, identity: this.identity });
    this.wire.end(connackFor(reason));
  }

  /** It is no longer on its way: refused, gone, or a session. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#half?.settle();
    clearTimeout(this.#timer);
    this.#gate.forget(this);
    this.#gotConnect(undefined);
  }

  connectArrived(connect: ConnectFields): void {
    this.#gotConnect(connect);
  }

  violated(violation: ProtocolViolation): void {
    if (violation.connack === CONNACK_CODE.version) this.refuse('protocol_version', violation.says);
    else if (violation.connack === CONNACK_CODE.identifier) this.refuse('client_id_missing', violation.says);
    else this.refuse('protocol_violation', `${violation.clause}: ${violation.says}`);
  }

  packetArrived(): boolean {
    return !this.#hasLeft;
  }

  failed(error: unknown): void {
    this.#gate.fail(error, this.address);
    this.refuse('registry_failed');
  }

  overflowed(): void {
    this.refuse('protocol_violation', 'sent without reading');
  }

  socketClosed(): void {
    this.#half?.left();
    this.leave();
  }

  engineFailed(): void {}

  engineFinished(): void {}
}
