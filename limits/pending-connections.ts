/**
 * Counts connections that are pending, in total and per network, and limits the rate of new ones per network. `PendingConnections` is the
 * count of one thread; `SharedPendingConnections` is one count of several threads.
 */

import { type LoadTest, LoadTestRate } from './load-test-exemptions.ts';
import { TokenBuckets } from './token-buckets.ts';

/** 0: no limit. Read at each connection. */
export interface PendingConnectionLimits {
  /** Pending connections, in total. */
  readonly handshakes: number;
  /** Pending connections of one network. */
  readonly handshakesPerAddress: number;
  /** New connections per second of one network, with a burst of twice that. */
  readonly connectionsPerSecondPerAddress: number;
}

export type ConnectionRefusal = 'too_many_handshakes' | 'rate_limited';

/** The place of one connection among those that are pending. */
export interface PendingPlace {
  /** Called once. */
  release(): void;
}

export interface PendingConnectionCounts {
  /** Pending connections that this thread has. */
  readonly pending: number;
  /**
   * A place, or the limit that is reached. Connections of a load test have its rate and half of the pending connections of all, in place of
   * the limits per network. `now`: milliseconds.
   */
  admit(network: string, loadTest: LoadTest | undefined, now: number): PendingPlace | ConnectionRefusal;
  /** The limits were changed. */
  limitsChanged(): void;
}

export class PendingConnections implements PendingConnectionCounts {
  readonly #limits: PendingConnectionLimits;
  readonly #rate: TokenBuckets;
  readonly #perNetwork = new Map<string, number>();
  readonly #loadTestRate = new LoadTestRate(0);
  #pending = 0;
  #pendingOfLoadTests = 0;

  constructor(limits: PendingConnectionLimits) {
    this.#limits = limits;
    this.#rate = new TokenBuckets(this.#configuredRate());
  }

  get pending(): number {
    return this.#pending;
  }

  limitsChanged(): void {
    this.#rate.setRate(this.#configuredRate());
  }

  admit(network: string, loadTest: LoadTest | undefined, now: number): PendingPlace | ConnectionRefusal {
    const { handshakes, handshakesPerAddress } = this.#limits;
    if (handshakes > 0 && this.#pending >= handshakes) return 'too_many_handshakes';
    const most = loadTest === undefined ? handshakesPerAddress : handshakes / 2;
    const own = loadTest === undefined ? (this.#perNetwork.get(network) ?? 0) : this.#pendingOfLoadTests;
    if (most > 0 && own >= most) return 'too_many_handshakes';
    const wait = loadTest === undefined ? this.#rate.take(network, now) : this.#loadTestRate.take(loadTest, now);
    if (wait > 0) return 'rate_limited';
    this.#pending += 1;
    if (loadTest === undefined) this.#perNetwork.set(network, own + 1);
    else this.#pendingOfLoadTests += 1;
    return { release: () => this.#release(loadTest === undefined ? network : undefined) };
  }

  #release(network: string | undefined): void {
    this.#pending -= 1;
    if (network === undefined) {
      this.#pendingOfLoadTests -= 1;
      return;
    }
    const left = (this.#perNetwork.get(network) ?? 1) - 1;
    if (left > 0) this.#perNetwork.set(network, left);
    else this.#perNetwork.delete(network);
  }

  #configuredRate(): { readonly perSecond: number; readonly burst: number } {
    const rate = this.#limits.connectionsPerSecondPerAddress;
    return { perSecond: rate, burst: rate * 2 };
  }
}
