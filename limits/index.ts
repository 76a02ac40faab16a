/** What bounds clients before they cost anything: requests per address, refusals in the log, work in turns. */

export { networkOf } from './client-network.ts';
export { RefusalLog } from './refusal-log.ts';
export { RequestBudget, type RequestHandlers } from './request-budget.ts';
export { createThrottle, type Throttle } from './request-limits.ts';
export { TokenBuckets } from './token-buckets.ts';
export { Turns } from './work-queue.ts';
