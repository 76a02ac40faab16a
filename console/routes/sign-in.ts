/** Signing in and out, one-time links, and authenticating again. The cookie of the session is set here and nowhere else. */

import { isIP } from 'node:net';
import { Problem } from '@rollcall/protocol';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { BegunOperatorSession } from '../../registry/index.ts';
import { addressOf } from '../access.ts';
import type { Answer } from '../api/endpoint.ts';
import { signInEndpoints as endpoints } from '../api/sign-in.ts';
import { addEndpoint } from '../application.ts';
import type { SignInClient } from '../auth/operator-sign-in.ts';
import { csrfTokenOf, NO_SESSION_COOKIE, sessionCookie } from '../auth/session-cookie.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

type SignedInView = Answer<typeof endpoints.signIn>;

export function addSignInRoutes(app: FastifyInstance, options: RoutesOptions): void {
  const { registry, signIn, access, now } = options;
  /** Sets the cookie of the session. */
  const answer = async (begun: BegunOperatorSession, reply: FastifyReply): Promise<SignedInView> => {
    const { id, operator, method, authenticatedAt, expiresAt } = begun.record;
    const credentials = await registry.findOperatorCredentials(operator);
    if (credentials === undefined) throw new Problem('operator_required');
    reply.header('set-cookie', sessionCookie(begun.secret, expiresAt - now()));
    const session = { id, method, authenticatedAt: isoTime(authenticatedAt), expiresAt: isoTime(expiresAt) };
    return { operator, role: credentials.role, session, csrfToken: csrfTokenOf(begun.secret) };
  };

  addEndpoint(app, endpoints.showSignIn, async ({ reply }) => {
    const admission = await access.identify(reply.request.raw);
    return {
      needsFirstOperator: await registry.needsFirstOperator(),
      methods: ['password'],
      operator: admission?.session?.operator,
      isAdmitted: admission !== undefined,
    };
  });
  addEndpoint(app, endpoints.signIn, async ({ body, reply }) =>
    answer(await signIn.byPassword(body, clientOf(reply)), reply),
  );
  addEndpoint(app, endpoints.signOut, async ({ admission, actor, reply }) => {
    if (admission.session !== undefined) await registry.endOperatorSession(admission.session.id, actor);
    reply.header('set-cookie', NO_SESSION_COOKIE);
    return {};
  });
  addEndpoint(app, endpoints.reauthenticate, async ({ body, admission, reply }) => {
    if (admission.session === undefined) throw new Problem('session_required');
    return answer(await signIn.again(admission.session, body, clientOf(reply)), reply);
  });
  addEndpoint(app, endpoints.describeSignInLink, async ({ body, reply }) => {
    const { operator, expiresAt } = await signIn.findLink(body.secret, clientOf(reply));
    const credentials = operator === undefined ? undefined : await registry.findOperatorCredentials(operator);
    return { operator, expiresAt: isoTime(expiresAt), needsCode: credentials?.totp?.isConfirmed ?? false };
  });
  addEndpoint(app, endpoints.useSignInLink, async ({ body, reply }) =>
    answer(await signIn.byLink(body, clientOf(reply)), reply),
  );
  addEndpoint(app, endpoints.createSignInLink, async ({ body, actor }) => {
    const { record, secret } = await registry.createSignInLink(body.operator, actor);
    return {
      url: options.linkUrl(secret),
      operator: record.operator,
      expiresAt: isoTime(record.expiresAt),
    };
  });
}

/** Problem `request_invalid` on the unix socket, where nobody signs in. */
export function clientOf({ request }: FastifyReply): SignInClient {
  const address = addressOf(request.raw);
  if (isIP(address) === 0) throw new Problem('request_invalid', { detail: 'expected a sign-in over HTTPS' });
  return { address, userAgent: request.headers['user-agent'] ?? '' };
}
