/** How operators sign in and out: requests and responses. */

import { z } from 'zod';
import { OPERATOR_ROLES } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { operatorName } from './operators.ts';
import { time } from './schemas.ts';

const MAX_PASSWORD_BYTES = 1_024;

/** Not trimmed: spaces count. */
export const password = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= MAX_PASSWORD_BYTES, { error: 'expected at most 1,024 bytes' })
  .meta({ format: 'password', description: 'at most 1,024 bytes of UTF-8' });

export const newPassword = password.describe('12 characters or more, at most 1,024 bytes of UTF-8');

export const secondFactorCode = z
  .string()
  .min(1)
  .max(64)
  .optional()
  .describe('of the second factor, where the operator has one: six digits, or a recovery code');

const linkSecret = z
  .string()
  .regex(/^[A-Za-z0-9_-]{43}$/, 'expected the part of a link after #')
  .describe('the part of the link after #');

/** What a page needs after a sign-in. The session itself is in a cookie. */
export const signedInView = z.object({
  operator: z.string(),
  role: z.enum(OPERATOR_ROLES),
  session: z.object({
    id: z.string(),
    method: z.string().describe('how the operator signed in: password, password+totp, passkey, link ...'),
    authenticatedAt: time,
    expiresAt: time.describe('in any case; earlier without requests'),
  }),
  csrfToken: z.string().describe('for every request that changes something, in the header x-csrf-token'),
});

export const signInEndpoints = {
  showSignIn: {
    method: 'GET',
    path: '/v1/sign-in',
    access: 'anyone',
    summary: 'show how operators can sign in here, and whether this browser did',
    answer: z.object({
      needsFirstOperator: z.boolean().describe('there is no operator yet: the set-up link of the server adds one'),
      methods: z.array(z.string()).describe('password, passkey ...'),
      operator: z.string().optional().describe('who signed in with this browser'),
      isAdmitted: z.boolean().describe('requests of this client are accepted: by a session or a key'),
    }),
  },
  signIn: {
    method: 'POST',
    path: '/v1/sign-in',
    access: 'anyone',
    summary: 'sign in with a password, and a code where the operator has a second factor',
    body: z.strictObject({ operator: z.string().max(64), password, code: secondFactorCode }),
    answer: signedInView,
  },
  signInByCertificate: {
    method: 'POST',
    path: '/v1/sign-in/certificate',
    access: 'anyone',
    summary: 'begin a session with the client certificate of this connection, for pages; programs need no session',
    answer: signedInView,
  },
  signOut: {
    method: 'POST',
    path: '/v1/sign-out',
    access: 'session',
    summary: 'end this session and its open streams',
    answer: z.object({}),
  },
  reauthenticate: {
    method: 'POST',
    path: '/v1/reauthenticate',
    access: 'session',
    summary:
      'sign in again, before a request that needs a recent sign-in; the session gets another cookie and CSRF token',
    body: z.strictObject({ password, code: secondFactorCode }),
    answer: signedInView,
  },
  describeSignInLink: {
    method: 'POST',
    path: '/v1/sign-in/link',
    access: 'anyone',
    summary: 'show whom a one-time link is for, without using it',
    body: z.strictObject({ secret: linkSecret }),
    answer: z.object({
      operator: z.string().optional().describe('left out: of the first set-up, whose user chooses a name'),
      expiresAt: time,
      needsCode: z.boolean().describe('a code of the second factor is needed beside the new password'),
    }),
  },
  useSignInLink: {
    method: 'POST',
    path: '/v1/sign-in/link/use',
    access: 'anyone',
    summary:
      'set a password by a one-time link, and sign in; at first set-up it adds the operator, with the role admin',
    body: z.strictObject({
      secret: linkSecret,
      operator: operatorName.optional().describe('at first set-up: the name of the operator'),
      password: newPassword,
      code: secondFactorCode,
    }),
    answer: signedInView,
  },
  createSignInLink: {
    method: 'POST',
    path: '/v1/sign-in-links',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'make a one-time link with which an operator sets a password; the former one is refused from now on',
    body: z.strictObject({ operator: operatorName.optional().describe('left out: for the first set-up') }),
    answer: z.object({
      url: z.string().describe('the link itself: shown here and never again'),
      operator: z.string().optional(),
      expiresAt: time,
    }),
  },
} as const satisfies Record<string, Endpoint>;
