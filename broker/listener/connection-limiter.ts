/**
 * Limits connections before any cryptography: a rate per address, and how many may be pending at once, in total and per
 * address. A connection that has not completed CONNECT by its deadline is closed here.
 */

import type { Socket } from 'node:net';
import {
  type AcceptedClient,
  type LoadTestExemptions,
  LoadTestRate,
  networkOf,
  TokenBuckets,
} from '../../limits/index.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';
import { ConnectionSlot, type ConnectionSlotOwner } from './connection-slot.ts';

export interface ConnectionLimiterOptions {
  readonly limits: BrokerLimits;
  /** Exempt addresses have half of the pending connections of all, in place of the limits per address. */
  readonly loadTests?: Pick<LoadTestExemptions, 'find'> | undefined;
  readonly now: () => number;
  readonly refused: (reason: ConnectFailure, address: string) => void;
}

export class ConnectionLimiter implements ConnectionSlotOwner {
  readonly #options: ConnectionLimiterOptions;
  readonly #rate: TokenBuckets;
  readonly #sockets = new Set<Socket>();
  /** Pending connections of load tests. */
  readonly #exempt = new WeakSet<ConnectionSlot>();
  readonly #pendingPerNetwork = new Map<string, number>();
  readonly #loadTestRate = new LoadTestRate(0);
  #pending = 0;
  #pendingOfLoadTests = 0;
  #begun = 0;
  #finished = 0;
  #abandoned = 0;
  #milliseconds = 0;

  constructor(options: ConnectionLimiterOptions) {
    this.#options = options;
    this.#rate = new TokenBuckets(this.#configuredRate());
  }

  /** The limits were changed: the rate is applied. The others are read at each connection. */
  limitsChanged(): void {
    this.#rate.setRate(this.#configuredRate());
  }

  /** `handshakes_begun_total` counts admitted connections; `handshake_seconds_total` runs from the accept, of finished ones. */
  counters(): Readonly<Record<string, number>> {
    return {
      pending_connections: this.#pending,
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
    const network = networkOf(address);
    const pending = this.#pendingPerNetwork.get(network) ?? 0;
    if (limits.handshakes > 0 && this.#pending >= limits.handshakes) {
      return this.#refuse(socket, 'too_many_handshakes', address);
    }
    const loadTest = this.#options.loadTests?.find(address);
    const most = loadTest === undefined ? limits.handshakesPerAddress : limits.handshakes / 2;
    if (most > 0 && (loadTest === undefined ? pending : this.#pendingOfLoadTests) >= most) {
      return this.#refuse(socket, 'too_many_handshakes', address);
    }
    const wait = loadTest === undefined ? this.#rate.take(network, now()) : this.#loadTestRate.take(loadTest, now());
    if (wait > 0) return this.#refuse(socket, 'rate_limited', address);

    const timeout = Math.max(0, limits.connectTimeout - waitedMs);
    const slot = new ConnectionSlot(socket, address, network, timeout, this);
    this.#begun += 1;
    this.#pending += 1;
    if (loadTest === undefined) this.#pendingPerNetwork.set(network, pending + 1);
    else {
      this.#pendingOfLoadTests += 1;
      this.#exempt.add(slot);
    }
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
    const { network } = slot;
    this.#pending -= 1;
    if (this.#exempt.delete(slot)) {
      this.#pendingOfLoadTests -= 1;
      return;
    }
    const left = (this.#pendingPerNetwork.get(network) ?? 1) - 1;
    if (left > 0) this.#pendingPerNetwork.set(network, left);
    else this.#pendingPerNetwork.delete(network);
  }

  abandoned(): void {
    this.#abandoned += 1;
  }

  timedOut({ address }: ConnectionSlot): void {
    this.#options.refused('connect_timeout', address);
  }

  #configuredRate(): { readonly perSecond: number; readonly burst: number } {
    const rate = this.#options.limits.connectionsPerSecondPerAddress;
    return { perSecond: rate, burst: rate * 2 };
  }

  #refuse(socket: Socket, reason: ConnectFailure, address: string): undefined {
    socket.on('error', () => {});
    socket.resetAndDestroy(); // A reset leaves no TIME_WAIT behind.
    this.#options.refused(reason, address);
    return undefined;
  }
}
