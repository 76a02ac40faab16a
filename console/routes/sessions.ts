/** Live sessions of all nodes, as their brokers know them. */

import { formatIdentity, Problem, parseIdentity } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { sessionEndpoints as endpoints } from '../api/sessions.ts';
import { isoTime } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import type { LiveSession, ServerControls } from '../server-controls.ts';
import type { RoutesOptions } from './routes.ts';

type SessionView = Answer<typeof endpoints.listSessions>['sessions'][number];

export function addSessionRoutes(app: FastifyInstance, { controls }: RoutesOptions): void {
  addEndpoint(app, endpoints.listSessions, async ({ query: { after = '', identity, node, limit }, reply }) => {
    if (node !== undefined) await expectNode(controls, node);
    const query = { after, limit, node, identity: identity === undefined ? undefined : parseIdentity(identity) };
    const { sessions, unanswered } = await controls.sessions(query);
    return {
      sessions: pageOf(reply, sessions, { limit, view: viewSession, cursor: ({ clientId }) => ({ after: clientId }) }),
      unanswered: [...unanswered],
    };
  });
}

async function expectNode({ nodes }: ServerControls, name: string): Promise<void> {
  const found = (await nodes.list()).find((node) => node.name === name);
  if (found === undefined) throw new Problem('node_unknown', { reason: `there is no node ${name}` });
}

export function viewSession(session: LiveSession): SessionView {
  const { identity, clientId, node, address, serial, connectedAt, notAfter } = session;
  return {
    ...{ identity: formatIdentity(identity), clientId, node, address, serial },
    connectedAt: isoTime(connectedAt),
    notAfter: isoTime(notAfter),
  };
}
