import { networkOf, TokenBuckets } from '../../limits/index.ts';
import { EVENT_RULES } from './event-classes.ts';
import type { FleetEvent } from './event-log.ts';

export interface EventRateLimits {
  /** Events of one kind that any client can cause, from all sources together. */
  readonly perSecond: number;
  /** Events of one kind from one source, such as an address or a device. */
  readonly perMinutePerSource: number;
}

export const EVENT_RATE_LIMITS: EventRateLimits = { perSecond: 50, perMinutePerSource: 20 };

/** Bounds of counted sources and of held events. */
const MAX_SOURCES = 50_000;
const MAX_HELD = 10_000;

/** An event to store. */
export interface EventCandidate {
  readonly event: FleetEvent;
  readonly id: string;
  /** Stored once per id: after a crash it may be recorded again. */
  readonly isKeyed: boolean;
}

export interface AdmittedEvent extends EventCandidate {
  /** The number of events of its kind that were left out before it. */
  readonly leftOut: number;
}

export class EventRateLimiter {
  readonly #all: TokenBuckets;
  readonly #bySource: TokenBuckets;
  readonly #leftOut = new Map<string, number>();
  readonly #held = new Map<string, AdmittedEvent>();
  #total = 0;

  constructor({ perSecond, perMinutePerSource }: EventRateLimits) {
    this.#all = new TokenBuckets({ perSecond, burst: perSecond * 4 });
    this.#bySource = new TokenBuckets({
      perSecond: perMinutePerSource / 60,
      burst: perMinutePerSource,
      keys: MAX_SOURCES,
    });
  }

  /** The number of events of all kinds that were left out. */
  get total(): number {
    return this.#total;
  }

  get hasHeld(): boolean {
    return this.#held.size > 0;
  }

  /** Returns undefined when the event is left out or held. */
  admit(candidate: EventCandidate, source: string): AdmittedEvent | undefined {
    const { type, at } = candidate.event;
    const { limitedAs, hasGlobalLimit = false } = EVENT_RULES[type];
    if (limitedAs === undefined) return { ...candidate, leftOut: 0 };
    const key = `${limitedAs} ${networkOf(source)}`;
    // The limit of the source is checked first: a flood must not use up the total budget.
    const mayPass = this.#bySource.take(key, at) === 0 && (!hasGlobalLimit || this.#all.take(limitedAs, at) === 0);
    if (mayPass) {
      const held = this.#held.get(key);
      this.#held.delete(key);
      if (held !== undefined) this.#total += 1;
      const leftOut = held === undefined ? (this.#leftOut.get(limitedAs) ?? 0) : held.leftOut + 1;
      if (hasGlobalLimit) this.#leftOut.delete(limitedAs);
      return { ...candidate, leftOut };
    }
    if (hasGlobalLimit) this.#leaveOut(limitedAs);
    else this.#hold(key, candidate);
    return undefined;
  }

  /** Returns held events whose sources are within their limit again. */
  takeDue(now: number): AdmittedEvent[] {
    return this.#takeHeld((key) => this.#bySource.take(key, now) === 0);
  }

  /** Returns all held events, before the log closes. */
  takeAll(): AdmittedEvent[] {
    return this.#takeHeld(() => true);
  }

  #takeHeld(isDue: (key: string) => boolean): AdmittedEvent[] {
    const due: AdmittedEvent[] = [];
    for (const [key, held] of this.#held) {
      if (!isDue(key)) continue;
      this.#held.delete(key);
      due.push(held);
    }
    return due;
  }

  /** Replaces the event that is held for this source. */
  #hold(key: string, candidate: EventCandidate): void {
    const before = this.#held.get(key);
    if (before === undefined && this.#held.size >= MAX_HELD) {
      this.#total += 1;
      return;
    }
    if (before !== undefined) this.#total += 1;
    const leftOut = before === undefined ? 0 : before.leftOut + 1;
    this.#held.set(key, { ...candidate, leftOut });
  }

  #leaveOut(kind: string): void {
    this.#leftOut.set(kind, (this.#leftOut.get(kind) ?? 0) + 1);
    this.#total += 1;
  }
}
