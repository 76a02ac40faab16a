/** What an operator who signed in can see and change of the own account: requests and responses. */

import { z } from 'zod';
import { OPERATOR_ROLES } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { time } from './schemas.ts';
import { newPassword } from './sign-in.ts';

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
} as const satisfies Record<string, Endpoint>;
