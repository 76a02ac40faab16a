/** Live sessions as the broker knows them. */

import { formatIdentity } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { Answer } from '../api/endpoint.ts';
import { sessionEndpoints as endpoints } from '../api/sessions.ts';
import { addEndpoint } from '../application.ts';
import { isoTime } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import type { LiveSession } from '../server-controls.ts';
import type { RoutesOptions } from './routes.ts';

type SessionView = Answer<typeof endpoints.listSessions>[number];

export function addSessionRoutes(app: FastifyInstance, { controls }: RoutesOptions): void {
  addEndpoint(app, endpoints.listSessions, ({ query: { after = '', limit }, reply }) => {
    const later = controls.sessions().filter(({ clientId }) => clientId > after);
    later.sort((one, other) => (one.clientId < other.clientId ? -1 : 1));
    return pageOf(reply, later, { limit, view: viewSession, cursor: ({ clientId }) => ({ after: clientId }) });
  });
}

export function viewSession(session: LiveSession): SessionView {
  return {
    ...session,
    identity: formatIdentity(session.identity),
    connectedAt: isoTime(session.connectedAt),
    notAfter: isoTime(session.notAfter),
  };
}
