/**
 * Deny by default: a route says who may call it, or the server does not start. The declaration is not a note, it is what
 * the door does: `declaredCaller` reads it back for the one hook that lets requests in.
 */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
/**
 * Everyone; the holder of a bootstrap token; the holder of a certificate that is good now; or of one that is, or was, and
 * may lead to another: what it is worth is decided behind that door.
 */
export type RouteAuthentication = 'public' | 'token' | 'certificate' | 'renewal';

const CALLERS: ReadonlySet<unknown> = new Set<RouteAuthentication>(['public', 'token', 'certificate', 'renewal']);

declare module 'fastify' {
  interface FastifyContextConfig {
    caller?: RouteAuthentication;
  }
}

/** Throws while a route is added that does not declare its caller. To be called before the first route. */
export function requireRouteAuthentication(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (CALLERS.has(route.config?.caller)) return;
    throw new Problem('internal', { reason: `expected ${String(route.method)} ${route.url} to declare its caller` });
  });
}

/** Undefined for what is no route. */
export function routeAuthentication(request: FastifyRequest): RouteAuthentication | undefined {
  return request.routeOptions.config.caller;
}
