/** Operators and their API keys: requests and responses. */

import { z } from 'zod';
import { OPERATOR_ROLES } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { checkedText, longPageLimit, time } from './schemas.ts';

const NAME = '^[a-z0-9][a-z0-9._-]{0,63}$';
export const operatorName = checkedText(
  (text) => (new RegExp(NAME).test(text) ? text : undefined),
  'an operator name of 1 to 64 of a-z 0-9 . _ -, the first a letter or digit',
  NAME,
);

const KEY_ID = '^[0-9a-f]{16}$';
const keyId = checkedText(
  (text) => (new RegExp(KEY_ID).test(text) ? text : undefined),
  'the id of an API key, 16 lower-case hexadecimal digits',
  KEY_ID,
);

const role = z.enum(OPERATOR_ROLES);

const operatorView = z.object({
  name: z.string(),
  role,
  state: z.enum(['active', 'disabled']),
  createdAt: time,
  createdBy: z.string(),
  disabledAt: time.optional(),
});

const keyView = z.object({
  id: z.string(),
  operator: z.string(),
  role: role.describe('the operator may have a lesser one meanwhile, which then applies'),
  state: z.enum(['usable', 'disabled', 'expired', 'revoked']),
  createdAt: time,
  createdBy: z.string(),
  expiresAt: time,
  lastUsedAt: time.optional().describe('to a minute'),
  revokedAt: time.optional(),
});

const operatorParams = z.strictObject({ name: operatorName });
const keyParams = z.strictObject({ id: keyId });

export const operatorEndpoints = {
  showSelf: {
    method: 'GET',
    path: '/v1/whoami',
    access: 'viewer',
    summary: 'show who this request comes from, and with which role',
    answer: z.object({
      actor: z.string().describe('as the audit names it'),
      role,
      apiKey: z.string().optional(),
      session: z
        .object({ id: z.string(), method: z.string(), authenticatedAt: time, isRecent: z.boolean() })
        .optional()
        .describe('of an operator who signed in; isRecent: in the last five minutes'),
      csrfToken: z.string().optional().describe('of a session: for changes, in the header x-csrf-token'),
      expiresAt: time.optional().describe('of the API key or the session'),
    }),
  },
  addOperator: {
    method: 'POST',
    path: '/v1/operators',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'add an operator; it has no key and no password yet',
    body: z.strictObject({ name: operatorName, role: role.default('viewer') }),
    answer: operatorView,
  },
  listOperators: {
    method: 'GET',
    path: '/v1/operators',
    access: 'admin',
    summary: 'list operators in the order of their names',
    query: z.strictObject({
      after: operatorName.optional().describe('the page behind this operator'),
      limit: longPageLimit,
    }),
    answer: z.array(operatorView),
  },
  disableOperator: {
    method: 'POST',
    path: '/v1/operators/:name/disable',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'refuse an operator from now on, and end its sessions and open streams',
    params: operatorParams,
    answer: operatorView,
  },
  resetOperator: {
    method: 'POST',
    path: '/v1/operators/:name/reset',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'revoke all keys of an operator, remove what it signs in with, and enable it again; may change its role',
    params: operatorParams,
    body: z.strictObject({ role: role.optional().describe('left out: the role stays') }),
    answer: operatorView,
  },
  createOperatorKey: {
    method: 'POST',
    path: '/v1/operator-keys',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'create an API key of an operator',
    body: z.strictObject({
      operator: operatorName,
      role: role.default('viewer').describe('not above the role of the operator'),
      ttlSeconds: z
        .int()
        .min(1)
        .max(365 * 86_400)
        .default(90 * 86_400),
    }),
    answer: z.object({
      key: keyView,
      text: z.string().describe('the API key itself: shown here and never again'),
    }),
  },
  listOperatorKeys: {
    method: 'GET',
    path: '/v1/operator-keys',
    access: 'admin',
    summary: 'list API keys, oldest first, never their secrets',
    query: z.strictObject({
      operator: operatorName.optional().describe('of this operator only'),
      after: keyId.optional().describe('the page behind this key'),
      limit: longPageLimit,
    }),
    answer: z.array(keyView),
  },
  revokeOperatorKey: {
    method: 'POST',
    path: '/v1/operator-keys/:id/revoke',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'refuse an API key from now on, and end its open streams',
    params: keyParams,
    answer: keyView,
  },
} as const satisfies Record<string, Endpoint>;
