/**
 * Limits how fast one client sends. Above its rate the socket is not read until tokens have returned. A client that exceeds its
 * message rate for too long is to be disconnected; the byte rate only slows it down.
 */

import { TokenBucket } from '../../limits/index.ts';

export interface ClientRateLimits {
  /** 0: no limit. */
  readonly messagesPerSecond: number;
  /** 0: no limit. */
  readonly bytesPerSecond: number;
  /** How long a client may exceed its message rate, in ms. */
  readonly throttleTimeout: number;
}

/** Tokens for so many seconds may be used at once. */
const BURST_SECONDS = 2;

export class ClientRate {
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #timeout: number;
  readonly #isLimited: boolean;
  #exceededSince = 0;

  /** `now`: milliseconds. */
  constructor({ messagesPerSecond, bytesPerSecond, throttleTimeout }: ClientRateLimits, now: number) {
    this.#messages = new TokenBucket({ perSecond: messagesPerSecond, burst: messagesPerSecond * BURST_SECONDS, now });
    this.#bytes = new TokenBucket({ perSecond: bytesPerSecond, burst: bytesPerSecond * BURST_SECONDS, now });
    this.#timeout = throttleTimeout;
    this.#isLimited = messagesPerSecond > 0 || bytesPerSecond > 0;
  }

  get isLimited(): boolean {
    return this.#isLimited;
  }

  /** Counts a packet. False: the client may be above its rate, and `check` has to be called. */
  count(bytes: number): boolean {
    const hasMessageToken = this.#messages.spend(1);
    return this.#bytes.spend(bytes) && hasMessageToken;
  }

  /** Seconds for which the socket is not to be read; 0: none; undefined: the client was above its message rate for too long. */
  check(now: number): number | undefined {
    this.#messages.refill(now);
    this.#bytes.refill(now);
    const messages = this.#messages.secondsShort;
    const seconds = Math.max(messages, this.#bytes.secondsShort);
    if (seconds <= 0) {
      // A client that was idle has most of its burst back, and its time above the rate starts anew.
      if (seconds < -1) this.#exceededSince = 0;
      return 0;
    }
    if (messages > 0 && this.#exceededSince === 0) this.#exceededSince = now;
    return messages > 0 && now - this.#exceededSince > this.#timeout ? undefined : seconds;
  }
}
