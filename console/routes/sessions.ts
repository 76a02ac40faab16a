/** Live sessions as the broker knows them. */

import type { FastifyInstance } from 'fastify';
import { formatIdentity } from '../../contract/identity.ts';
import type { Answer } from '../api/endpoint.ts';
import { sessionEndpoints as endpoints } from '../api/sessions.ts';
import { serve } from '../application.ts';
import type { LiveSession } from '../fleet.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

type SessionView = Answer<typeof endpoints.listSessions>[number];

export function addSessionRoutes(app: FastifyInstance, { fleet }: RoutesOptions): void {
  serve(app, endpoints.listSessions, () => fleet.sessions().map(viewSession));
}

export function viewSession(session: LiveSession): SessionView {
  return {
    ...session,
    identity: formatIdentity(session.identity),
    connectedAt: isoTime(session.connectedAt),
    notAfter: isoTime(session.notAfter),
  };
}
