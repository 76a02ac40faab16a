/**
 * Lets through only so many events of a kind that anybody can cause at will: some per source, some in all. What is left
 * out is counted, and the next one that is let through tells how many there were. Looks at no clock itself.
 */

import type { LifecycleType } from '../contract/lifecycle.ts';
import { networkOf } from '../throttle/network.ts';
import { TokenBuckets } from '../throttle/token-buckets.ts';

export interface FloodLimits {
  /** Of one kind, in all. */
  readonly perSecond: number;
  /** Of one kind, from one source: an address, a device. */
  readonly perMinutePerSource: number;
}

export const FLOOD_LIMITS: FloodLimits = { perSecond: 50, perMinutePerSource: 20 };

/** Caused by whoever reaches the port, or by a device as often as it likes. */
const GUARDED: ReadonlySet<LifecycleType> = new Set(['presence.connect_failed', 'security.acl_denied']);

export class FloodGuard {
  readonly #all: TokenBuckets;
  readonly #bySource: TokenBuckets;
  readonly #leftOut = new Map<LifecycleType, number>();
  #total = 0;

  constructor({ perSecond, perMinutePerSource }: FloodLimits) {
    this.#all = new TokenBuckets({ perSecond, burst: perSecond * 4 });
    this.#bySource = new TokenBuckets({ perSecond: perMinutePerSource / 60, burst: perMinutePerSource });
  }

  /** How many have been left out, of all kinds. */
  get total(): number {
    return this.#total;
  }

  /** How many of this kind were left out before this one, or undefined when it is to be left out too. */
  admit(type: LifecycleType, source: string, now: number): number | undefined {
    if (!GUARDED.has(type)) return 0;
    // The source first: one that floods must not use up what belongs to all.
    const mayPass = this.#bySource.take(`${type} ${networkOf(source)}`, now) === 0 && this.#all.take(type, now) === 0;
    const leftOut = this.#leftOut.get(type) ?? 0;
    if (mayPass) {
      this.#leftOut.delete(type);
      return leftOut;
    }
    this.#leftOut.set(type, leftOut + 1);
    this.#total += 1;
    return undefined;
  }
}
