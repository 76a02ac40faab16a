/** The limits that all servers of a fleet share, so that a client has one budget for all ports. */

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

/** The clock is monotonic, so that a change of the system clock neither fills nor drains a budget. */
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
