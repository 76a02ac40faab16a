/** Policies: who may say what on which topic: requests and responses. */

import { type Identity, NAME_RULE, type PolicyScope, parseGroupName, parseIdentity } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText } from './schemas.ts';

const policyParams = z
  .strictObject({ kind: z.enum(['group', 'service', 'quarantine']), name: z.string() })
  .refine(
    ({ kind, name }) => (name === '*' ? kind !== 'group' : kind !== 'quarantine' && parseGroupName(name) !== undefined),
    {
      error: `expected group/NAME, service/NAME, service/* or quarantine/*, a name being ${NAME_RULE}`,
      path: ['name'],
    },
  );

const rules = z.array(z.string().min(1).max(1024)).max(256).default([]);

const policyDocument = z.strictObject({
  connect: rules,
  publish: rules,
  subscribe: rules,
  receive: rules,
  retain: rules,
});

const effectivePolicy = z.object({
  scope: z.string() as unknown as z.ZodType<PolicyScope>,
  isDefault: z.boolean().describe('nothing was set for this scope'),
  decidedBy: z.string().describe('the scope whose policy applies, or "built-in"'),
  policy: policyDocument,
});

const explainRequest = z.strictObject({
  identity: checkedText(
    (text) => (parseIdentity(text) === undefined ? undefined : text),
    `device/ID, service/NAME or a device id, a name being ${NAME_RULE}`,
    '^((device|service)/)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  ).transform((text) => parseIdentity(text) as Identity),
  verb: z.enum(['publish', 'subscribe', 'receive']),
  topic: z.string().min(1).max(1024),
});

const explanation = z.object({
  allowed: z.boolean(),
  rule: z.string().optional(),
  reason: z.string().optional(),
});

export const policyEndpoints = {
  showPolicy: {
    method: 'GET',
    path: '/v1/policies/:kind/:name',
    access: 'viewer',
    summary: 'show the policy that applies to group/NAME, service/NAME or service/*',
    params: policyParams,
    isTagged: true,
    answer: effectivePolicy,
  },
  setPolicy: {
    method: 'PUT',
    path: '/v1/policies/:kind/:name',
    access: 'operator',
    summary: 'set the policy of group/NAME, service/NAME or service/*; a list left out allows nothing',
    params: policyParams,
    body: policyDocument,
    isTagged: true,
    answer: effectivePolicy,
  },
  explainPolicy: {
    method: 'POST',
    path: '/v1/policies/explain',
    access: 'viewer',
    summary: 'explain which rule allows or refuses a topic',
    body: explainRequest,
    isQuestion: true,
    answer: explanation,
  },
} as const satisfies Record<string, Endpoint>;
