/**
 * Limits guesses of passwords and codes, per network and per operator name. On a network from which an operator signed in
 * before, its guesses have a limit of their own, so that guesses from elsewhere lock nobody out. Names of operators that do not exist are
 * limited in the same way. The limits are in memory: a restart begins with full ones.
 */

import { Problem } from '@rollcall/protocol';
import { networkOf, TokenBuckets } from '../../limits/index.ts';

/** A burst of ten, and one more every six seconds. */
const OF_NETWORK = { perSecond: 1 / 6, burst: 10, keys: 20_000 };
/** From networks that the operator did not use before: 2,880 passwords a day in all. */
const OF_NAME = { perSecond: 1 / 30, burst: 10, keys: 20_000 };
/** Codes after a right password, from such networks: 288 a day, of a million. */
const CODES_OF_NAME = { perSecond: 1 / 300, burst: 5, keys: 1_000 };
/** On a network that the operator used before, which others may share: 1,440 a day. */
const CODES_OF_KNOWN = { perSecond: 1 / 60, burst: 10, keys: 1_000 };

export interface Guess {
  /** As it was sent. */
  readonly name: string;
  readonly address: string;
  /** The operator signed in from this network before. */
  readonly isKnownNetwork: boolean;
}

export class GuessLimiter {
  readonly #now: () => number;
  readonly #networks = new TokenBuckets(OF_NETWORK);
  readonly #names = new TokenBuckets(OF_NAME);
  readonly #known = new TokenBuckets(OF_NETWORK);
  readonly #codes = new TokenBuckets(CODES_OF_NAME);
  readonly #knownCodes = new TokenBuckets(CODES_OF_KNOWN);

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts a password or a link before it is checked. Problem `rate_limited`. */
  countPassword(guess: Guess): void {
    if (guess.isKnownNetwork) {
      this.#take(this.#known, knownKey(guess));
      return;
    }
    this.#take(this.#networks, networkOf(guess.address));
    this.#take(this.#names, guess.name);
  }

  /** Counts a code that came with the right password, before it is checked. Problem `rate_limited`. */
  countCode(guess: Guess): void {
    if (guess.isKnownNetwork) this.#take(this.#knownCodes, knownKey(guess));
    else this.#take(this.#codes, guess.name);
  }

  /** Counts a guess that is of no name. Problem `rate_limited`. */
  countAddress(address: string): void {
    this.#take(this.#networks, networkOf(address));
  }

  #take(buckets: TokenBuckets, key: string): void {
    const wait = buckets.take(key, this.#now());
    if (wait > 0) throw new Problem('rate_limited', { retryAfter: Math.ceil(wait) });
  }
}

function knownKey({ name, address }: Guess): string {
  return `${name} ${networkOf(address)}`;
}
