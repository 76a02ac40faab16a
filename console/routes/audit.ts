/** The audit trail: read back, checked, exported. */

import { Readable } from 'node:stream';
import { jsonText } from '@rollcall/output';
import { parseDecimal } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { AuditEntry, AuditFilter, Registry } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { auditEndpoints as endpoints } from '../api/audit.ts';
import type { Answer, Checked } from '../api/endpoint.ts';
import { isoTime } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import type { RoutesOptions } from './routes.ts';

type AuditView = Answer<typeof endpoints.listAudit>[number];

const ENTRIES_PER_PAGE = 500;

export function addAuditRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  addEndpoint(app, endpoints.listAudit, async ({ query, reply }) => {
    const entries = await registry.listAudit(filterOf(query));
    return pageOf(reply, entries, { limit: query.limit, view: viewAudit, cursor: ({ id }) => ({ before: id }) });
  });
  addEndpoint(app, endpoints.verifyAudit, async ({ query }) => {
    const [digits, hash = ''] = query.head?.split(':') ?? [];
    const id = parseDecimal(digits, 0);
    const { entries, head, fault } = await registry.verifyAudit(id === undefined ? undefined : { id, hash });
    return { isWhole: fault === undefined, entries, head, fault };
  });
  addEndpoint(app, endpoints.exportAudit, async ({ query, reply }) => {
    reply.raw.socket?.setTimeout(0);
    await reply.type(endpoints.exportAudit.mediaType).send(Readable.from(lines(registry, query.after ?? 0)));
    return undefined;
  });
}

function filterOf(query: Checked<typeof endpoints.listAudit, 'query'>): AuditFilter {
  const { before, actor, action, subject, outcome, since, until, limit } = query;
  return {
    limit,
    ...(before !== undefined && { before }),
    ...(actor !== undefined && { actor }),
    ...(action !== undefined && { action }),
    ...(subject !== undefined && { subject }),
    ...(outcome !== undefined && { outcome }),
    ...(since !== undefined && { since: Date.parse(since) }),
    ...(until !== undefined && { until: Date.parse(until) }),
  };
}

/** Lines in the form that `registry/audit/audit-chain.ts` hashes, `at` in milliseconds: they can be checked without the server. */
async function* lines(registry: Registry, after: number): AsyncGenerator<string> {
  for (let last = after; ; ) {
    const page = await registry.exportAudit({ after: last, limit: ENTRIES_PER_PAGE });
    if (page.length > 0) yield page.map((entry) => `${jsonText(entry)}\n`).join('');
    if (page.length < ENTRIES_PER_PAGE) return;
    last = page.at(-1)?.id ?? last;
  }
}

export function viewAudit(entry: AuditEntry): AuditView {
  return { ...entry, at: isoTime(entry.at), details: { ...entry.details } };
}
