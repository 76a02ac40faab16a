/** Passkeys: signing in with one, and those of the own account. */

import { Problem } from '@rollcall/protocol';
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { PasskeyRecord } from '../../registry/index.ts';
import { expectSession } from '../access.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { passkeyEndpoints as endpoints } from '../api/passkeys.ts';
import { makeChallengeCookie, presentedChallengeSecret } from '../auth/challenge-cookie.ts';
import { CHALLENGE_LIFE_MS } from '../auth/passkey-challenges.ts';
import type { PasskeyBrowser } from '../auth/passkeys.ts';
import { answerWithSession, clientOf, relyingPartyOf } from '../auth/session-answer.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export function addPasskeyRoutes(app: FastifyInstance, options: RoutesOptions): void {
  const { registry, signIn } = options;
  const { passkeys } = signIn;
  addEndpoint(app, endpoints.beginPasskeySignIn, async ({ reply }) => ({
    ...(await passkeys.authenticationOptions(undefined, newBrowser(reply))),
  }));
  addEndpoint(app, endpoints.signInWithPasskey, async ({ body, reply }) => {
    const credential = body.credential as AuthenticationResponseJSON;
    return answerWithSession(await signIn.byPasskey(credential, knownBrowser(reply), clientOf(reply)), reply, options);
  });
  addEndpoint(app, endpoints.beginPasskeyReauthentication, async ({ admission, reply }) => ({
    ...(await passkeys.authenticationOptions(expectSession(admission), newBrowser(reply))),
  }));
  addEndpoint(app, endpoints.reauthenticateWithPasskey, async ({ body, admission, reply }) => {
    const [session, credential] = [expectSession(admission), body.credential as AuthenticationResponseJSON];
    const renewed = await signIn.againByPasskey(session, credential, knownBrowser(reply), clientOf(reply));
    return answerWithSession(renewed, reply, options);
  });
  addEndpoint(app, endpoints.beginPasskey, async ({ admission, reply }) => ({
    ...(await passkeys.registrationOptions(expectSession(admission), newBrowser(reply))),
  }));
  addEndpoint(app, endpoints.addPasskey, async ({ body, admission, actor, reply }) => {
    const order = { name: body.name, credential: body.credential as RegistrationResponseJSON };
    return viewPasskey(await passkeys.register(expectSession(admission), order, knownBrowser(reply), actor));
  });
  addEndpoint(app, endpoints.removePasskey, async ({ body, admission, actor }) => {
    await registry.removePasskey(expectSession(admission).operator, body.id, actor);
    return {};
  });
}

export function viewPasskey({ id, name, rpId, createdAt, lastUsedAt }: PasskeyRecord) {
  return { id, name, rpId, createdAt: isoTime(createdAt), lastUsedAt: isoTimeIfAny(lastUsedAt) };
}

/** Gives the browser a cookie, to which the challenge is bound. */
function newBrowser(reply: FastifyReply): PasskeyBrowser {
  const browser = addressBarOf(reply);
  const { secret, header } = makeChallengeCookie(CHALLENGE_LIFE_MS);
  reply.header('set-cookie', header);
  return { ...browser, secret };
}

/** Problem `passkey_refused` without the cookie. */
function knownBrowser(reply: FastifyReply): PasskeyBrowser {
  const secret = presentedChallengeSecret(reply.request.raw);
  if (secret === undefined) throw new Problem('passkey_refused', { reason: 'no cookie of a challenge' });
  return { ...addressBarOf(reply), secret };
}

/** Problem `request_invalid` under an address, which is no relying party (WebAuthn, 5.1.3). */
function addressBarOf({ request }: FastifyReply): Omit<PasskeyBrowser, 'secret'> {
  const rpId = relyingPartyOf(request.raw);
  if (rpId !== undefined) return { rpId, origin: `https://${(request.headers.host ?? '').toLowerCase()}` };
  throw new Problem('request_invalid', {
    detail: 'expected a host name of this console in the address, for a passkey',
  });
}
