/** The audit trail: what operators send and read. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { pageLimit, time } from './shapes.ts';

const auditQuery = z.strictObject({ before: z.coerce.number().int().min(1).optional(), limit: pageLimit });

const auditView = z.object({
  id: z.int(),
  at: time,
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  outcome: z.enum(['done', 'refused']),
  details: z.record(z.string(), z.union([z.string(), z.number()])),
});

export const auditEndpoints = {
  listAudit: {
    method: 'GET',
    path: '/v1/audit',
    access: 'operator',
    summary: 'who did what to whom, newest first',
    query: auditQuery,
    answer: z.array(auditView),
  },
} as const satisfies Record<string, Endpoint>;
