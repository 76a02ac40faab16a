/** Policies: who may say what on which topic, and their earlier versions: requests and responses. */

import { type Identity, NAME_RULE, type PolicyScope, parseGroupName, parseIdentity } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText, decimal, longPageLimit, pageLimit, time, unanswered } from './schemas.ts';

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

const VERBS = ['connect', 'publish', 'subscribe', 'receive', 'retain'] as const;

const listedPolicy = z.object({
  scope: z.string(),
  isDefault: z.boolean().describe('nothing was set for this scope'),
  decidedBy: z.string().describe('the scope whose policy applies, or "built-in"'),
  rules: z.object({ connect: z.int(), publish: z.int(), subscribe: z.int(), receive: z.int(), retain: z.int() }),
  members: z
    .int()
    .describe(
      'devices or services that it decides for, or would if it were set; of quarantine/* up to 10,000 are counted',
    ),
  setAt: time.optional(),
  setBy: z.string().optional(),
});

const fault = z.object({
  verb: z.enum(VERBS),
  index: z.int().optional().describe('of the rule in its list; absent for the list itself'),
  fault: z.string(),
});

const preview = z.object({
  members: z.int().describe('devices or services that it would decide for'),
  sessions: z.int().describe('live sessions of these'),
  ended: z.int().describe('sessions that would end, because they may not connect under it'),
  subscriptionsLost: z.int().describe('subscriptions that the other sessions would lose'),
  lost: z
    .array(z.object({ client: z.string(), filter: z.string().optional() }))
    .describe('the first 100; without a filter the session would end'),
  unanswered,
});

const policyVersion = z.object({
  version: z.int().describe('the id of the audit entry of the change'),
  at: time,
  actor: z.string(),
  policy: policyDocument.optional().describe('absent when the change removed the policy'),
  restores: z.int().optional().describe('the version that this one restored'),
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
  listPolicies: {
    method: 'GET',
    path: '/v1/policies',
    access: 'viewer',
    summary:
      'list the scopes of policies: those with a policy, the defaults, and groups and services that use a default',
    query: z.strictObject({
      after: z.string().max(80).optional().describe('the page behind this scope'),
      limit: longPageLimit,
    }),
    answer: z.array(listedPolicy),
  },
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
  removePolicy: {
    method: 'DELETE',
    path: '/v1/policies/:kind/:name',
    access: 'operator',
    summary: 'remove the policy of group/NAME, service/NAME, service/* or quarantine/*, so that the default applies',
    params: policyParams,
    isTagged: true,
    answer: effectivePolicy,
  },
  checkPolicy: {
    method: 'POST',
    path: '/v1/policies/check',
    access: 'viewer',
    summary: 'say which rules of a policy cannot be applied, without setting it',
    body: policyDocument,
    isQuestion: true,
    answer: z.object({ faults: z.array(fault) }),
  },
  previewPolicy: {
    method: 'POST',
    path: '/v1/policies/:kind/:name/preview',
    access: 'viewer',
    summary: 'say who would be affected by a policy, and which live sessions would lose what, without setting it',
    params: policyParams,
    body: z.strictObject({ policy: policyDocument.optional().describe('left out: the policy is removed') }),
    isQuestion: true,
    answer: preview,
  },
  listPolicyVersions: {
    method: 'GET',
    path: '/v1/policies/:kind/:name/versions',
    access: 'viewer',
    summary: 'list the versions of a policy, newest first',
    params: policyParams,
    query: z.strictObject({
      before: decimal(1).optional().describe('versions below this one: the page after it'),
      limit: pageLimit,
    }),
    answer: z.array(policyVersion),
  },
  restorePolicy: {
    method: 'POST',
    path: '/v1/policies/:kind/:name/restore',
    access: 'operator',
    summary: 'set or remove a policy as an earlier version has it, which makes another version',
    params: policyParams,
    body: z.strictObject({ version: z.int().min(1) }),
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
