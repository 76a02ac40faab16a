/**
 * Addresses that operators exempted from the limits per address, for load tests. An exempt address has the rate of its token in
 * place of them; the limits for all clients together stay, and all exempt addresses together get at most half of each.
 */

import type { AddressNetwork } from '@rollcall/protocol';
import { AddressNetworks } from './address-networks.ts';
import { canonicalAddress } from './client-network.ts';
import { TokenBucket } from './token-bucket.ts';

export interface LoadTest {
  /** Of the bootstrap token. */
  readonly tokenId: string;
  readonly networks: readonly AddressNetwork[];
  /** Of each kind of request and connection. */
  readonly perSecond: number;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

interface ActiveLoadTest extends LoadTest {
  readonly addresses: AddressNetworks;
}

export class LoadTestExemptions {
  readonly #now: () => number;
  readonly #listeners = new Set<(active: readonly LoadTest[]) => void>();
  #active: readonly ActiveLoadTest[] = [];

  /** `now`: milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  counters(): Readonly<Record<string, number>> {
    return { load_test_exemptions: this.#active.filter(({ expiresAt }) => expiresAt > this.#now()).length };
  }

  get active(): readonly LoadTest[] {
    return this.#active.map(({ tokenId, networks, perSecond, expiresAt }) => ({
      tokenId,
      networks,
      perSecond,
      expiresAt,
    }));
  }

  /** Calls back with the load tests when they were replaced and one of the two lists is not empty. Returns what ends that. */
  onReplaced(listener: (active: readonly LoadTest[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** These in place of all former ones. */
  replace(loadTests: readonly LoadTest[]): void {
    if (loadTests.length > 0 || this.#active.length > 0) {
      for (const listener of this.#listeners) listener(loadTests);
    }
    this.#active = loadTests.map((loadTest) => ({ ...loadTest, addresses: new AddressNetworks(loadTest.networks) }));
  }

  /** The load test of an address, of this token where one is given. Nothing is parsed while there is none. */
  find(address: string, tokenId?: string): LoadTest | undefined {
    if (this.#active.length === 0) return undefined;
    const canonical = canonicalAddress(address);
    const now = this.#now();
    return this.#active.find(
      (loadTest) =>
        loadTest.expiresAt > now &&
        (tokenId === undefined || loadTest.tokenId === tokenId) &&
        loadTest.addresses.includes(canonical),
    );
  }
}

/** Seconds of a rate that may come at once. */
const BURST_SECONDS = 2;
/** Tokens with an exemption that are remembered; the least recently added one is dropped first. */
const TOKENS_MAX = 100;

/** One rate of all load tests: each has the rate of its token, and all together half of the rate for all clients. */
export class LoadTestRate {
  #total: number;
  readonly #perToken = new Map<string, { readonly perSecond: number; readonly bucket: TokenBucket }>();
  #all: TokenBucket | undefined;

  /** `perSecond`: of all clients together; 0: no limit. */
  constructor(perSecond: number) {
    this.#total = perSecond / 2;
  }

  /** Takes effect at once. */
  setRate(perSecond: number): void {
    this.#total = perSecond / 2;
    this.#all = undefined;
  }

  /** 0 when the request is within the rate; otherwise the seconds until it is. `now`: milliseconds that only go forward. */
  take({ tokenId, perSecond }: LoadTest, now: number): number {
    const wait = this.#bucketOf(tokenId, perSecond, now).take(now);
    if (wait > 0 || this.#total === 0) return wait;
    this.#all ??= newBucket(this.#total, now);
    return this.#all.take(now);
  }

  #bucketOf(tokenId: string, perSecond: number, now: number): TokenBucket {
    const known = this.#perToken.get(tokenId);
    if (known?.perSecond === perSecond) return known.bucket;
    const bucket = newBucket(perSecond, now);
    this.#perToken.set(tokenId, { perSecond, bucket });
    if (this.#perToken.size > TOKENS_MAX) this.#perToken.delete(this.#perToken.keys().next().value as string);
    return bucket;
  }
}

function newBucket(perSecond: number, now: number): TokenBucket {
  return new TokenBucket({ perSecond, burst: Math.max(1, perSecond * BURST_SECONDS), now });
}
