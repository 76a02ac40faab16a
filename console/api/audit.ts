/** The audit trail: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { decimal, pageLimit, time } from './schemas.ts';

const auditOutcome = z.enum(['done', 'refused']);

const auditQuery = z.strictObject({
  before: decimal(1).optional(),
  actor: z.string().min(1).max(300).optional().describe('who did it, such as operator/alice, or a kind: operator'),
  action: z.string().min(1).max(128).optional().describe('what was done, such as device.revoked, or a kind: device'),
  subject: z.string().min(1).max(300).optional().describe('to what, such as device/dev-7, or a kind: device'),
  outcome: auditOutcome.optional(),
  since: time.optional(),
  until: time.optional().describe('before this time'),
  limit: pageLimit,
});

export const auditView = z.object({
  id: z.int(),
  at: time,
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  outcome: auditOutcome,
  details: z.record(z.string(), z.union([z.string(), z.number()])),
  hash: z.string().describe('SHA-256 over the hash of the entry before it, and this entry'),
});

const head = z.object({ id: z.int(), hash: z.string() });

const verifyQuery = z.strictObject({
  head: z
    .string()
    .regex(/^\d{1,15}:[0-9a-f]{64}$/)
    .optional()
    .describe('a head that was stored elsewhere, ID:HASH, which the chain has to contain'),
});

const verdict = z.object({
  isWhole: z.boolean(),
  entries: z.int(),
  head: head.describe('the newest entry: store it elsewhere'),
  fault: z.string().optional().describe('the first fault'),
});

export const auditEndpoints = {
  listAudit: {
    method: 'GET',
    path: '/v1/audit',
    access: 'viewer',
    summary: 'list audit entries, newest first',
    query: auditQuery,
    answer: z.array(auditView),
  },
  verifyAudit: {
    method: 'GET',
    path: '/v1/audit/verify',
    access: 'viewer',
    summary: 'read the whole audit, and say whether an entry was changed or is missing',
    query: verifyQuery,
    answer: verdict,
  },
  exportAudit: {
    method: 'GET',
    path: '/v1/audit/export',
    access: 'viewer',
    summary: 'the whole audit, oldest first, one entry a line with the hash of the one before it',
    query: z.strictObject({ after: decimal(0).optional().describe('entries after this one') }),
    answer: z.string(),
    mediaType: 'application/x-ndjson',
    stream: 'bytes',
  },
} as const satisfies Record<string, Endpoint>;
