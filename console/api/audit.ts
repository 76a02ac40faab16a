/** The audit trail: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { decimal, pageLimit, time } from './schemas.ts';

const auditQuery = z.strictObject({
  before: decimal(1).optional(),
  subject: z.string().min(1).max(300).optional().describe('of this subject only, such as device/dev-7'),
  limit: pageLimit,
});

export const auditView = z.object({
  id: z.int(),
  at: time,
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  outcome: z.enum(['done', 'refused']),
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
