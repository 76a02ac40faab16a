/** Bootstrap tokens: requests and responses. */

import { DEFAULT_GROUP } from '@rollcall/protocol';
import { z } from 'zod';
import { DEVICE_STATUSES } from '../../registry/index.ts';
import { operationAnswer } from './device-operation-schemas.ts';
import { certificateView } from './devices.ts';
import type { Endpoint } from './endpoint.ts';
import { deviceId, groupName, labels, longPageLimit, reason, time, tokenId } from './schemas.ts';

const tokenParams = z.strictObject({ id: tokenId });

const loadTest = z.strictObject({
  from: z.array(z.string().max(43)).min(1).max(16).describe('IP addresses, or networks such as 10.1.0.0/24'),
  perSecond: z.int().min(1).max(10_000).default(200).describe('of each kind of request and connection'),
});

const createRequest = z.strictObject({
  uses: z.int().min(1).max(1_000_000).default(1).describe('how many devices may enroll with it'),
  ttlSeconds: z
    .int()
    .min(1)
    .max(30 * 86_400)
    .default(86_400),
  group: groupName.prefault(DEFAULT_GROUP),
  device: deviceId.optional().describe('the only device that may use it'),
  labels: labels.default({}),
  loadTest: loadTest.optional().describe('exempts these addresses from the limits per address until the token ends'),
});

const tokenView = z.object({
  id: z.string(),
  state: z.enum(['usable', 'spent', 'expired', 'void']),
  maxUses: z.int(),
  uses: z.int(),
  group: z.string(),
  labels,
  device: z.string().optional(),
  mintedAt: time,
  mintedBy: z.string(),
  expiresAt: time,
  voidedAt: time.optional(),
  loadTest: loadTest.optional(),
});

const createdToken = z.object({
  token: tokenView,
  text: z.string().describe('the bootstrap token itself: shown here and never again'),
});

const tokenQuery = z.strictObject({
  after: tokenId.optional().describe('the page behind this token'),
  limit: longPageLimit,
});

const issuedFromQuery = z.strictObject({
  after: deviceId.optional().describe('the page of devices greater than this one'),
  limit: longPageLimit,
});

const issuedFromView = z.object({
  token: tokenView,
  devices: z.array(
    z.object({
      device: z.string(),
      status: z.enum([...DEVICE_STATUSES, 'deleted']),
      certificates: z.array(certificateView).describe('issued from this token, the newest 1,000, oldest first'),
    }),
  ),
});

const issuedFromRequest = z.strictObject({
  act: z.enum(['revoke', 'suspend', 'quarantine']),
  reason: reason.optional().describe('of a revocation; without one it is keyCompromise'),
  confirm: z.string().max(100).optional().describe('the confirmation of a dry run of this operation, or "yes"'),
});

export const tokenEndpoints = {
  createToken: {
    method: 'POST',
    path: '/v1/tokens',
    access: 'operator',
    summary: 'create a bootstrap token',
    body: createRequest,
    answer: createdToken,
  },
  listTokens: {
    method: 'GET',
    path: '/v1/tokens',
    access: 'viewer',
    summary: 'list bootstrap tokens, oldest first, never their secrets',
    query: tokenQuery,
    answer: z.array(tokenView),
  },
  revokeToken: {
    method: 'POST',
    path: '/v1/tokens/:id/void',
    access: 'operator',
    summary: 'revoke a bootstrap token',
    params: tokenParams,
    answer: tokenView,
  },
  showIssuedFrom: {
    method: 'GET',
    path: '/v1/tokens/:id/blast',
    access: 'viewer',
    summary: 'show every certificate that was issued from a bootstrap token, directly or by renewal',
    params: tokenParams,
    query: issuedFromQuery,
    answer: issuedFromView,
  },
  applyToIssuedFrom: {
    method: 'POST',
    path: '/v1/tokens/:id/blast',
    access: 'operator',
    recentSignIn: 'several devices',
    summary:
      'revoke a bootstrap token, and apply an operation to every device with a good certificate that was issued from it',
    params: tokenParams,
    body: issuedFromRequest,
    answer: operationAnswer,
  },
} as const satisfies Record<string, Endpoint>;
