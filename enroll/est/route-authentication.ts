/**
 * Deny by default: every route declares how its client is authenticated, or the server does not start. The hook of every
 * request reads the declaration back through `routeAuthentication`.
 */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';

/**
 * `public`: any client. `token`: a bootstrap token. `certificate`: a client certificate that is good now. `renewal`: also
 * one that is superseded or expired; re-enrollment decides what it is still good for. `node`: the certificate of a node of the fleet.
 */
export type RouteAuthentication = 'public' | 'token' | 'certificate' | 'renewal' | 'node';

const KINDS: ReadonlySet<unknown> = new Set<RouteAuthentication>(['public', 'token', 'certificate', 'renewal', 'node']);

declare module 'fastify' {
  interface FastifyContextConfig {
    authentication?: RouteAuthentication;
  }
}

/** Call this before the first route is added. Adding a route without a declaration throws. */
export function requireRouteAuthentication(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (KINDS.has(route.config?.authentication)) return;
    throw new Problem('internal', {
      reason: `expected ${String(route.method)} ${route.url} to declare its authentication`,
    });
  });
}

/** Undefined when there is no such route. */
export function routeAuthentication(request: FastifyRequest): RouteAuthentication | undefined {
  return request.routeOptions.config.authentication;
}
