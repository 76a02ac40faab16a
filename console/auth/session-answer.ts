/** What a sign-in reads of the request, and its answer: the cookie of the session, and what the page needs. */

import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { canonicalHost, Problem } from '@rollcall/protocol';
import type { FastifyReply } from 'fastify';
import type { BegunOperatorSession, Registry } from '../../registry/index.ts';
import { addressOf } from '../access.ts';
import type { signedInView } from '../api/sign-in.ts';
import { isoTime } from '../iso-time.ts';
import type { SignInClient } from './operator-sign-in.ts';
import { csrfTokenOf, presentedSession, sessionCookie } from './session-cookie.ts';

export interface SessionAnswerOptions {
  readonly registry: Pick<Registry, 'findOperatorCredentials' | 'admitOperatorSession' | 'endOperatorSession'>;
  readonly now: () => number;
}

/** Ends the session that the browser had: its cookie is replaced, so nobody could sign out of it. */
export async function answerWithSession(
  { record, secret }: BegunOperatorSession,
  reply: FastifyReply,
  { registry, now }: SessionAnswerOptions,
): Promise<(typeof signedInView)['_output']> {
  const { id, operator, method, authenticatedAt, expiresAt } = record;
  const credentials = await registry.findOperatorCredentials(operator);
  if (credentials === undefined) throw new Problem('operator_required');
  const former = presentedSession(reply.request.raw);
  const replaced = former === undefined ? undefined : await registry.admitOperatorSession(former);
  if (replaced !== undefined && replaced.id !== id) {
    await registry.endOperatorSession(replaced.id, `operator/${replaced.operator}`);
  }
  reply.header('set-cookie', sessionCookie(secret, expiresAt - now()));
  const session = { id, method, authenticatedAt: isoTime(authenticatedAt), expiresAt: isoTime(expiresAt) };
  return { operator, role: credentials.role, session, csrfToken: csrfTokenOf(secret) };
}

/** Problem `request_invalid` on the unix socket, where nobody signs in. */
export function clientOf({ request }: FastifyReply): SignInClient {
  const address = addressOf(request.raw);
  if (isIP(address) === 0) throw new Problem('request_invalid', { detail: 'expected a sign-in over HTTPS' });
  return { address, userAgent: request.headers['user-agent'] ?? '' };
}

/** The host name under which the browser reached this console; undefined for an address, under which no passkey works. */
export function relyingPartyOf({ headers }: IncomingMessage): string | undefined {
  const host = canonicalHost((headers.host ?? '').replace(/:\d{1,5}$/, ''));
  return host === undefined || isIP(host) !== 0 ? undefined : host;
}
