/** What all servers of a fleet share, so that a client has one budget however many of their ports it uses. */

import { RefusalLog } from './refusal-log.ts';
import { RequestBudget } from './request-budget.ts';

export interface RequestLimits {
  readonly requests: RequestBudget;
  readonly refusalLog: RefusalLog;
}

export interface RequestLimitOptions {
  /** HTTP requests per second and network; 0: no limit. */
  readonly requestsPerSecondPerAddress: number;
  /** Log lines about refusals per minute, and address or client id; 0: no limit. */
  readonly refusalLogsPerMinute: number;
}

export const NO_REQUEST_LIMITS: RequestLimitOptions = { requestsPerSecondPerAddress: 0, refusalLogsPerMinute: 0 };

/** Time is monotonic: a clock that jumps neither fills a budget nor drains it. */
export function createRequestLimits(limits: RequestLimitOptions): RequestLimits {
  const monotonic = () => performance.now();
  return {
    requests: new RequestBudget({
      perSecondPerAddress: limits.requestsPerSecondPerAddress,
      monotonic,
      random: Math.random,
    }),
    refusalLog: new RefusalLog({ perMinutePerSource: limits.refusalLogsPerMinute, now: monotonic }),
  };
}
