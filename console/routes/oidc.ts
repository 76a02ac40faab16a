/** Signing in with an identity provider. A refusal sends the browser to the sign-in page with its code; the reason is in the log. */

import { asProblem, Problem } from '@rollcall/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { oidcEndpoints as endpoints } from '../api/oidc.ts';
import type { OidcSignIn } from '../auth/oidc/oidc-sign-in.ts';
import { beginTransaction, NO_TRANSACTION_COOKIE, presentedTransaction } from '../auth/oidc/transaction-cookie.ts';
import { clientOf } from '../auth/session-answer.ts';
import { sessionCookie } from '../auth/session-cookie.ts';
import type { RoutesOptions } from './routes.ts';

const FIRST_PAGE = '/';
const SIGN_IN_PAGE = '/sign-in';

export function addOidcRoutes(app: FastifyInstance, { oidc, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.beginOidcSignIn, async ({ query, reply }) => {
    const signIn = expectOidc(oidc);
    await sendOn(reply, async () => {
      const transaction = beginTransaction(now(), query.again === 'true');
      const url = await signIn.begin(transaction, redirectUriOf(reply.request), clientOf(reply));
      reply.header('set-cookie', transaction.cookie);
      return url;
    });
    return undefined;
  });
  addEndpoint(app, endpoints.endOidcSignIn, async ({ reply }) => {
    const signIn = expectOidc(oidc);
    reply.header('set-cookie', NO_TRANSACTION_COOKIE);
    await sendOn(reply, async () => {
      const transaction = presentedTransaction(reply.request.raw, now());
      if (transaction === undefined) throw new Problem('oidc_refused', { reason: 'no transaction in this browser' });
      const answerUrl = new URL(reply.request.url, redirectUriOf(reply.request));
      const { secret, record } = await signIn.end(transaction, answerUrl, clientOf(reply));
      reply.header('set-cookie', [NO_TRANSACTION_COOKIE, sessionCookie(secret, record.expiresAt - now())]);
      return FIRST_PAGE;
    });
    return undefined;
  });
}

/** A person looks at the answer: a problem document would be text on an empty page. */
async function sendOn(reply: FastifyReply, target: () => Promise<string>): Promise<void> {
  let url: string;
  try {
    url = await target();
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status >= 500 && problem.code !== 'oidc_unavailable') throw problem;
    reply.log.debug({ code: problem.code, reason: problem.reason }, 'sign-in with the identity provider refused');
    url = `${SIGN_IN_PAGE}?refused=${problem.code}`;
  }
  await reply.code(303).header('location', url).send(null);
}

function expectOidc(oidc: OidcSignIn | undefined): OidcSignIn {
  if (oidc === undefined) throw new Problem('not_found');
  return oidc;
}

/** Of the name under which the browser reached the console, because the cookies belong to it. The Host header was checked. */
function redirectUriOf({ headers }: FastifyRequest): string {
  return `https://${headers.host}${endpoints.endOidcSignIn.path}`;
}
