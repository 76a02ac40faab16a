/** Signing in with an identity provider: two requests of a browser, whose answers send it on. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';

const text = z.string().max(4_096).optional();

export const oidcEndpoints = {
  beginOidcSignIn: {
    method: 'GET',
    path: '/v1/sign-in/oidc',
    access: 'anyone',
    summary: 'send a browser to the identity provider, to sign in there',
    query: z.strictObject({
      again: z
        .enum(['true', 'false'])
        .default('false')
        .describe('true: the provider asks for a password or the like anew'),
    }),
    answer: z.null().describe('302, with a cookie'),
  },
  endOidcSignIn: {
    method: 'GET',
    path: '/v1/sign-in/oidc/callback',
    access: 'anyone',
    summary: 'the redirect URI for the identity provider: begins the session, and sends the browser to the first page',
    // RFC 6749, 4.1.2: a client ignores parameters that it does not know.
    query: z.looseObject({ code: text, state: text, iss: text, error: text }),
    answer: z.null().describe('303, to the sign-in page with `refused=CODE` when it was refused'),
  },
} as const satisfies Record<string, Endpoint>;
