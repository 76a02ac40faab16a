/** Clients' addresses, and limits for clients: request budgets, rate limits, limited refusal logs, and a work queue. */

export { AddressNetworks } from './address-networks.ts';
export { ClientAddresses } from './client-addresses.ts';
export { networkOf } from './client-network.ts';
export { createHttpServer, type HttpServer } from './http-server.ts';
export { type LoadTest, LoadTestExemptions, LoadTestRate } from './load-test-exemptions.ts';
export {
  type ConnectionRefusal,
  type PendingConnectionCounts,
  type PendingConnectionLimits,
  PendingConnections,
  type PendingPlace,
} from './pending-connections.ts';
export { type AcceptedClient, ProxiedConnections, type ProxyRefusal } from './proxied-connections.ts';
export { createRateLimit, type RateLimit, type Rates } from './rate-limit.ts';
export { type RefusalLevel, RefusalLog, type RefusalLogger } from './refusal-log.ts';
export { describeRefusedCertificate, type RefusedCertificate } from './refused-certificate.ts';
export { RequestBudget, type RequestHandlers } from './request-budget.ts';
export { createRequestLimits, type RequestLimits } from './request-limits.ts';
export {
  createSharedConnectionMemory,
  forgetConnections,
  type SharedConnectionMemory,
  SharedPendingConnections,
} from './shared-pending-connections.ts';
export { TokenBucket } from './token-bucket.ts';
export { TokenBuckets } from './token-buckets.ts';
export { WorkQueue } from './work-queue.ts';
