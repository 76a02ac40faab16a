/**
 * Limits connections before any cryptography: a rate per address, and how many may be pending at once, in total and per
 * address. A connection that has not completed CONNECT by its deadline is closed here.
 */

import type { Socket } from 'node:net';
import {
  type AcceptedClient,
  type LoadTestExemptions,
  networkOf,
  type PendingConnectionCounts,
  PendingConnections,
  type PendingPlace,
} from '../../limits/index.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';
import { ConnectionSlot, type ConnectionSlotOwner } from './connection-slot.ts';

export interface ConnectionLimiterOptions {
  readonly limits: BrokerLimits;
  /** Exempt addresses have half of the pending connections of all, in place of the limits per address. */
  readonly loadTests?: Pick<LoadTestExemptions, 'find'> | undefined;
  /** Shared with other threads; a count of its own when left out. */
  readonly connections?: PendingConnectionCounts | undefined;
  /** Refuses every connection while it returns why. */
  readonly refusesAll?: (() => ConnectFailure | undefined) | undefined;
  readonly now: () => number;
  readonly refused: (reason: ConnectFailure, address: string) => void;
}

export class ConnectionLimiter implements ConnectionSlotOwner {
  readonly #options: ConnectionLimiterOptions;
  readonly #connections: PendingConnectionCounts;
  readonly #sockets = new Set<Socket>();
  readonly #places = new WeakMap<ConnectionSlot, PendingPlace>();
  #begun = 0;
  #finished = 0;
  #abandoned = 0;
  #milliseconds = 0;

  constructor(options: ConnectionLimiterOptions) {
    this.#options = options;
    this.#connections = options.connections ?? new PendingConnections(options.limits);
  }

  limitsChanged(): void {
    this.#connections.limitsChanged();
  }

  /** `handshakes_begun_total` counts admitted connections; `handshake_seconds_total` runs from the accept, of finished ones. */
  counters(): Readonly<Record<string, number>> {
    return {
      pending_connections: this.#connections.pending,
      handshakes_begun_total: this.#begun,
      handshakes_finished_total: this.#finished,
      handshakes_abandoned_total: this.#abandoned,
      handshake_seconds_total: this.#milliseconds / 1_000,
    };
  }

  /** Destroys every connection that is left. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Decides on an accepted connection before its TLS handshake. Undefined: it is refused, and its socket destroyed. */
  admit(socket: Socket, { address, waitedMs }: AcceptedClient): ConnectionSlot | undefined {
    const { limits, now } = this.#options;
    const refusal = this.#options.refusesAll?.();
    if (refusal !== undefined) return this.#refuse(socket, refusal, address);
    const network = networkOf(address);
    const place = this.#connections.admit(network, this.#options.loadTests?.find(address), now());
    if (typeof place === 'string') return this.#refuse(socket, place, address);
    const timeout = Math.max(0, limits.connectTimeout - waitedMs);
    const slot = new ConnectionSlot(socket, address, network, timeout, this);
    this.#begun += 1;
    this.#places.set(slot, place);
    this.#sockets.add(socket);
    socket.once('close', () => {
      slot.abandon();
      this.#sockets.delete(socket);
    });
    return slot;
  }

  // Called by the slots.

  handshakeFinished(milliseconds: number): void {
    this.#finished += 1;
    this.#milliseconds += milliseconds;
  }

  released(slot: ConnectionSlot): void {
    this.#places.get(slot)?.release();
  }

  abandoned(): void {
    this.#abandoned += 1;
  }

  timedOut({ address }: ConnectionSlot): void {
    this.#options.refused('connect_timeout', address);
  }

  #refuse(socket: Socket, reason: ConnectFailure, address: string): undefined {
    socket.on('error', () => {});
    socket.resetAndDestroy(); // A reset leaves no TIME_WAIT behind.
    this.#options.refused(reason, address);
    return undefined;
  }
}
