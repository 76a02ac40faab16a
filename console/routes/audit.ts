/** The audit trail, read back. */

import type { FastifyInstance } from 'fastify';
import type { AuditEntry } from '../../registry/registry.ts';
import { auditEndpoints as endpoints } from '../api/audit.ts';
import type { Answer } from '../api/endpoint.ts';
import { serve } from '../application.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

type AuditView = Answer<typeof endpoints.listAudit>[number];

export function addAuditRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  serve(app, endpoints.listAudit, async ({ query }) => {
    const { before, limit } = query;
    const entries = await registry.listAudit({ limit, ...(before !== undefined && { before }) });
    return entries.map(viewAudit);
  });
}

function viewAudit(entry: AuditEntry): AuditView {
  return { ...entry, at: isoTime(entry.at), details: { ...entry.details } };
}
