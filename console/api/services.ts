/** Services: back-end applications with a certificate of their own: requests and responses. */

import { NAME_RULE, parseServiceName, type ServiceName } from '@rollcall/protocol';
import { z } from 'zod';
import { certificateView } from './devices.ts';
import type { Endpoint } from './endpoint.ts';
import { checkedText, longPageLimit, reason, time, unanswered } from './schemas.ts';
import { sessionView } from './sessions.ts';

const serviceName: z.ZodType<ServiceName, string> = checkedText(parseServiceName, `a service name of ${NAME_RULE}`);

const serviceParams = z.strictObject({ name: serviceName });

const serviceRequest = z.strictObject({
  name: serviceName,
  csrPem: z.string().min(1).max(16_384),
  again: z
    .boolean()
    .default(false)
    .describe('issue another certificate for a service that exists; its other certificates stay valid'),
});

const serviceQuery = z.strictObject({
  after: serviceName.optional().describe('the page of names greater than this one'),
  limit: longPageLimit,
});

const serviceView = z.object({
  name: z.string(),
  status: z.enum(['active', 'revoked']),
  issuedAt: time,
  expiresAt: time.optional().describe('end of its certificate that ends last; absent for a revoked service'),
  revokedAt: time.optional(),
});

const issuedService = z.object({
  service: serviceView,
  certificatePem: z.string(),
  caPem: z.string(),
  enrollUrl: z.string().describe('where it renews'),
  mqttUrl: z.string(),
});

const serviceRevokeRequest = z.strictObject({ reason: reason.default('unspecified') }).prefault({});

const revokeAnswer = z.object({
  revocations: z.array(z.object({ identity: z.string(), serials: z.array(z.string()), reason, revokedAt: time })),
  revokedAt: time,
  sessionsClosed: z.int().describe('live sessions that ended before this answer was sent'),
  tookMs: z.number(),
});

export const serviceEndpoints = {
  issueService: {
    method: 'POST',
    path: '/v1/services',
    access: 'operator',
    summary: 'issue a certificate for a back-end application',
    body: serviceRequest,
    answer: issuedService,
  },
  listServices: {
    method: 'GET',
    path: '/v1/services',
    access: 'viewer',
    summary: 'list services in the order of their names',
    query: serviceQuery,
    answer: z.array(serviceView),
  },
  showService: {
    method: 'GET',
    path: '/v1/services/:name',
    access: 'viewer',
    summary: 'show a service with its certificates, its live sessions and the scope whose policy applies',
    params: serviceParams,
    answer: serviceView.extend({
      decidedBy: z.string().describe('the scope whose policy applies, or "built-in"'),
      certificates: z.array(certificateView).describe('the newest 1,000, oldest first'),
      sessions: z.array(sessionView).describe('the first 100, in the order of their client ids'),
      sessionCount: z.int().describe('of all nodes, at most 10,000'),
      unanswered,
    }),
  },
  revokeService: {
    method: 'POST',
    path: '/v1/services/:name/revoke',
    access: 'operator',
    summary: 'revoke a service',
    params: serviceParams,
    body: serviceRevokeRequest,
    answer: revokeAnswer,
  },
} as const satisfies Record<string, Endpoint>;
