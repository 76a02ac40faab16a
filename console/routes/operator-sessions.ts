/** Sessions of operators who signed in: listed and ended. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { OperatorSessionRecord } from '../../registry/index.ts';
import type { Admission } from '../access.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { operatorSessionEndpoints as endpoints } from '../api/operator-sessions.ts';
import { isoTime } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import type { RoutesOptions } from './routes.ts';

export function addOperatorSessionRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  addEndpoint(app, endpoints.listOperatorSessions, async ({ query: { operator, after, limit }, admission, reply }) => {
    const sessions = await registry.listOperatorSessions(visibleOperator(admission, operator));
    const place = after === undefined ? -1 : sessions.findIndex(({ id }) => id === after);
    if (after !== undefined && place < 0) throw new Problem('session_unknown');
    const view = (record: OperatorSessionRecord) => ({
      ...record,
      createdAt: isoTime(record.createdAt),
      lastSeenAt: isoTime(record.lastSeenAt),
      authenticatedAt: isoTime(record.authenticatedAt),
      expiresAt: isoTime(record.expiresAt),
      isCurrent: record.id === admission.session?.id,
    });
    return pageOf(reply, sessions.slice(place + 1), { limit, view, cursor: ({ id }) => ({ after: id }) });
  });
  addEndpoint(app, endpoints.endOperatorSession, async ({ params: { id }, admission, actor }) => {
    if (admission.role !== 'admin') {
      // A session of another operator is answered as one that does not exist.
      const own = admission.session && (await registry.listOperatorSessions(admission.session.operator));
      if (!own?.some((session) => session.id === id)) throw new Problem('session_unknown');
    }
    await registry.endOperatorSession(id, actor);
    return {};
  });
}

/** Whose sessions are listed; undefined for those of all. Problem `role_insufficient`. */
function visibleOperator({ role, session, apiKey }: Admission, wanted: string | undefined): string | undefined {
  if (role === 'admin') return wanted;
  const own = (session ?? apiKey)?.operator;
  if (own === undefined || (wanted !== undefined && wanted !== own)) {
    throw new Problem('role_insufficient', { detail: 'this needs the role admin' });
  }
  return own;
}
