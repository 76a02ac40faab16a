/** The limits that all servers of a fleet share, so that a client has one budget for all ports. */

import { LoadTestExemptions } from './load-test-exemptions.ts';
import { RefusalLog } from './refusal-log.ts';
import { RequestBudget } from './request-budget.ts';

export interface RequestLimits {
  readonly requests: RequestBudget;
  readonly refusalLog: RefusalLog;
  readonly loadTests: LoadTestExemptions;
}

export interface RequestLimitOptions {
  /** HTTP requests per second and network; 0: no limit. */
  readonly requestsPerSecondPerAddress: number;
  /** Log lines about refusals per minute, and address or client id; 0: no limit. */
  readonly refusalLogsPerMinute: number;
}

export const NO_REQUEST_LIMITS: RequestLimitOptions = { requestsPerSecondPerAddress: 0, refusalLogsPerMinute: 0 };

/** The clock is monotonic, so that a change of the system clock neither fills nor drains a budget. */
/** `now`: milliseconds since the epoch, for the end of exemptions. */
export function createRequestLimits(limits: RequestLimitOptions, now: () => number = Date.now): RequestLimits {
  const monotonic = () => performance.now();
  const loadTests = new LoadTestExemptions(now);
  return {
    requests: new RequestBudget({
      perSecondPerAddress: limits.requestsPerSecondPerAddress,
      monotonic,
      random: Math.random,
      loadTests,
    }),
    loadTests,
    refusalLog: new RefusalLog({ perMinutePerSource: limits.refusalLogsPerMinute, now: monotonic }),
  };
}
