/** What an operator who signed in can see and change of the own account: requests and responses. */

import { z } from 'zod';
import { OPERATOR_ROLES } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { passkeyView } from './passkeys.ts';
import { time } from './schemas.ts';
import { newPassword } from './sign-in.ts';

const recoveryCodes = z.object({
  recoveryCodes: z.array(z.string()).describe('each for one sign-in in place of a code: shown here and never again'),
});

export const accountEndpoints = {
  showAccount: {
    method: 'GET',
    path: '/v1/account',
    access: 'session',
    summary: 'show what the operator signs in with',
    answer: z.object({
      operator: z.string(),
      role: z.enum(OPERATOR_ROLES),
      passwordChangedAt: time.optional().describe('left out without a password'),
      totp: z.enum(['none', 'unconfirmed', 'confirmed']),
      recoveryCodes: z.int().describe('how many are left'),
      passkeys: z.array(passkeyView),
    }),
  },
  changePassword: {
    method: 'POST',
    path: '/v1/account/password',
    access: 'session',
    recentSignIn: 'always',
    summary: 'set another password; all other sessions of the operator end',
    body: z.strictObject({ password: newPassword }),
    answer: z.object({}),
  },
  beginTotp: {
    method: 'POST',
    path: '/v1/account/totp',
    access: 'session',
    recentSignIn: 'always',
    summary: 'make a secret for an authenticator app (TOTP); it is not asked for until it is confirmed',
    answer: z.object({
      secret: z.string().describe('base32, for typing: shown here and never again'),
      url: z.string().describe('the same as otpauth://, for a QR code'),
    }),
  },
  confirmTotp: {
    method: 'POST',
    path: '/v1/account/totp/confirm',
    access: 'session',
    recentSignIn: 'always',
    summary: 'confirm the secret by a code; from now on a sign-in with the password needs one',
    body: z.strictObject({ code: z.string().min(6).max(16) }),
    answer: recoveryCodes,
  },
  removeTotp: {
    method: 'POST',
    path: '/v1/account/totp/remove',
    access: 'session',
    recentSignIn: 'always',
    summary: 'remove the second factor and its recovery codes',
    answer: z.object({}),
  },
  renewRecoveryCodes: {
    method: 'POST',
    path: '/v1/account/recovery-codes',
    access: 'session',
    recentSignIn: 'always',
    summary: 'make other recovery codes; the former ones are refused from now on',
    answer: recoveryCodes,
  },
} as const satisfies Record<string, Endpoint>;
