/**
 * Limits log lines about refusals: per minute and source, and per second in total, for all servers of a fleet. Omitted
 * lines are counted, and the next line states their number. The clock is injected.
 */

import { networkOf } from './client-network.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface RefusalLogOptions {
  /** Lines per minute and source; 0: no limit. */
  readonly perMinutePerSource: number;
  readonly now: () => number;
}

/** The methods of a logger that it uses. */
export interface RefusalLogger {
  isLevelEnabled(level: string): boolean;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export type RefusalLevel = 'debug' | 'info' | 'warn' | 'error';

/** For all sources together, so that many networks cannot fill the disk. */
const PER_SECOND = 50;
const BURST = 200;

export class RefusalLog {
  readonly #now: () => number;
  readonly #bySource: TokenBuckets;
  readonly #all: TokenBuckets;
  #omitted = 0;
  #omittedTotal = 0;

  constructor({ perMinutePerSource, now }: RefusalLogOptions) {
    this.#now = now;
    this.#bySource = new TokenBuckets({ perSecond: perMinutePerSource / 60, burst: perMinutePerSource });
    this.#all = new TokenBuckets({ perSecond: perMinutePerSource === 0 ? 0 : PER_SECOND, burst: BURST });
  }

  counters(): Readonly<Record<string, number>> {
    return { refusals_not_logged_total: this.#omittedTotal };
  }

  /** Logs unless the source, an address or a name, has used up its lines. A line below the log level is not counted. */
  write(log: RefusalLogger, level: RefusalLevel, source: string, fields: object, message: string): void {
    if (!log.isLevelEnabled(level) || !this.take(source)) return;
    const notLogged = this.takeNotLogged();
    log[level](notLogged === 0 ? fields : { ...fields, notLogged }, message);
  }

  /** Whether a line of this source is within the limits; one that is not counts as left out. */
  take(source: string): boolean {
    const now = this.#now();
    // The limit of the source is checked first: a flood from one source must not use up the lines for all.
    if (this.#bySource.take(networkOf(source), now) === 0 && this.#all.take('', now) === 0) return true;
    this.addOmitted(1);
    return false;
  }

  /** Lines that were left out, and that no line has named. The caller names them. */
  takeNotLogged(): number {
    const omitted = this.#omitted;
    this.#omitted = 0;
    return omitted;
  }

  /** Counts lines that another thread left out. */
  addOmitted(lines: number): void {
    this.#omitted += lines;
    this.#omittedTotal += lines;
  }
}
