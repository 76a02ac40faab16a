/**
 * Bounds how often refusals are logged, at all servers together: some lines a minute per source, some a second in all. What
 * is left out is counted, and the next line says how many there were. Decides about nobody, and never looks at a clock
 * except the one it is given.
 */

import { networkOf } from './client-network.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface RefusalLogOptions {
  /** Lines per minute and source; 0: no limit. */
  readonly perMinutePerSource: number;
  readonly now: () => number;
}

/** What is needed of a logger. */
export interface RefusalLogger {
  isLevelEnabled(level: string): boolean;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export type RefusalLevel = 'debug' | 'info' | 'warn' | 'error';

/** Of all sources together: many networks must not fill the disk either. */
const PER_SECOND = 50;
const BURST = 200;

export class RefusalLog {
  readonly #now: () => number;
  readonly #bySource: TokenBuckets;
  readonly #all: TokenBuckets;
  #leftOut = 0;
  #total = 0;

  constructor({ perMinutePerSource, now }: RefusalLogOptions) {
    this.#now = now;
    this.#bySource = new TokenBuckets({ perSecond: perMinutePerSource / 60, burst: perMinutePerSource });
    this.#all = new TokenBuckets({ perSecond: perMinutePerSource === 0 ? 0 : PER_SECOND, burst: BURST });
  }

  counters(): Readonly<Record<string, number>> {
    return { refusals_not_logged_total: this.#total };
  }

  /** Logs when the source, an address or a name, has lines left. A line that the level hides costs none. */
  write(log: RefusalLogger, level: RefusalLevel, source: string, fields: object, message: string): void {
    if (!log.isLevelEnabled(level)) return;
    const now = this.#now();
    // The source first: one that floods must not use up what belongs to all.
    if (this.#bySource.take(networkOf(source), now) > 0 || this.#all.take('', now) > 0) {
      this.#leftOut += 1;
      this.#total += 1;
      return;
    }
    log[level](this.#leftOut === 0 ? fields : { ...fields, notLogged: this.#leftOut }, message);
    this.#leftOut = 0;
  }
}
