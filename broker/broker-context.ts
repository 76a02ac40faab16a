/** What all parts of one broker share: limits, counters, clock, log, and the rate limit of log lines about refusals. */

import type { Logger } from 'pino';
import { type LoadTestExemptions, RefusalLog } from '../limits/index.ts';
import { BrokerCounters } from './broker-counters.ts';
import { type BrokerLimits, DEFAULT_LIMITS } from './broker-limits.ts';

export interface BrokerContext {
  readonly limits: BrokerLimits;
  readonly counters: BrokerCounters;
  readonly refusalLog: RefusalLog;
  readonly loadTests: Pick<LoadTestExemptions, 'find'> | undefined;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface BrokerContextOptions {
  readonly limits?: Partial<BrokerLimits>;
  readonly refusalLog?: RefusalLog;
  readonly loadTests?: Pick<LoadTestExemptions, 'find'> | undefined;
  readonly log: Logger;
  readonly now: () => number;
}

export function createBrokerContext({ log, now, ...options }: BrokerContextOptions): BrokerContext {
  const limits: BrokerLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const refusalLog = options.refusalLog ?? new RefusalLog({ perMinutePerSource: limits.refusalLogsPerMinute, now });
  return { limits, counters: new BrokerCounters(), refusalLog, loadTests: options.loadTests, log, now };
}
