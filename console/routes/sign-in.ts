/** Signing in and out, one-time links, and authenticating again. Passkeys are in `passkeys.ts`. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type BegunOperatorSession, runWithOrigin } from '../../registry/index.ts';
import { expectSession } from '../access.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { signInEndpoints as endpoints } from '../api/sign-in.ts';
import { answerWithSession, clientOf, relyingPartyOf } from '../auth/session-answer.ts';
import { NO_SESSION_COOKIE } from '../auth/session-cookie.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

/** A revoked certificate is refused at once, and a session that it began ends after so long. */
const MAX_CERTIFICATE_SESSION_MS = 8 * 3_600_000;

export function addSignInRoutes(app: FastifyInstance, options: RoutesOptions): void {
  const { registry, signIn, access } = options;
  const answer = (begun: BegunOperatorSession, reply: FastifyReply) => answerWithSession(begun, reply, options);

  addEndpoint(app, endpoints.showSignIn, async ({ reply }) => {
    const admission = await access.identify(reply.request.raw);
    return {
      needsFirstOperator: await registry.needsFirstOperator(),
      methods: [
        'password',
        ...(relyingPartyOf(reply.request.raw) === undefined ? [] : ['passkey']),
        ...(options.oidc === undefined ? [] : ['oidc']),
        ...((await options.certificates?.find(reply.request.raw)) === undefined ? [] : ['certificate']),
      ],
      operator: admission?.session?.operator,
      isAdmitted: admission !== undefined,
    };
  });
  addEndpoint(app, endpoints.signIn, async ({ body, reply }) =>
    answer(await signIn.byPassword(body, clientOf(reply)), reply),
  );
  addEndpoint(app, endpoints.signInByCertificate, async ({ reply }) => {
    const client = clientOf(reply);
    const found = await options.certificates?.find(reply.request.raw);
    if (found === undefined)
      throw new Problem('sign_in_refused', { detail: 'expected the certificate of an operator' });
    const { operator, serial, expiresAt } = found;
    const usual = signIn.sessionOrder(operator, { method: 'certificate' }, client);
    const lifetimeMs = Math.min(usual.lifetimeMs, MAX_CERTIFICATE_SESSION_MS, expiresAt - options.now());
    const origin = { apiKey: undefined, certificate: serial, address: client.address };
    const begun = await runWithOrigin(origin, () => registry.beginOperatorSession({ ...usual, lifetimeMs }));
    if (begun === undefined) throw new Problem('sign_in_refused');
    return answer(begun, reply);
  });
  addEndpoint(app, endpoints.signOut, async ({ admission, actor, reply }) => {
    await registry.endOperatorSession(expectSession(admission).id, actor);
    reply.header('set-cookie', NO_SESSION_COOKIE);
    return {};
  });
  addEndpoint(app, endpoints.reauthenticate, async ({ body, admission, reply }) => {
    return answer(await signIn.again(expectSession(admission), body, clientOf(reply)), reply);
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
