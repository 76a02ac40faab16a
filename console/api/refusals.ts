/** What the server refused: requests and responses. */

import { isIP } from 'node:net';
import { z } from 'zod';
import { REFUSAL_KINDS } from '../refusals.ts';
import type { Endpoint } from './endpoint.ts';
import { checkedText, decimal, deviceId, resumeHeaders, time } from './schemas.ts';

const filter = z.strictObject({
  kind: z.enum(REFUSAL_KINDS).optional(),
  code: z
    .string()
    .regex(/^[a-z0-9_]{1,64}$/, { error: 'expected a reason or code of docs/diagnose.md' })
    .optional()
    .describe('a reason or code of docs/diagnose.md'),
  device: deviceId.optional().describe('a device or service, also one that only an untrusted certificate names'),
  address: checkedText(
    (text) => (isIP(text) === 0 ? undefined : text),
    'an IP address',
    '^[0-9A-Fa-f.:]{2,45}$',
  ).optional(),
});

const facts = {
  key: z.string().describe('the same for all refusals of one party for one reason'),
  kind: z.enum(REFUSAL_KINDS),
  code: z
    .string()
    .describe('a reason of presence.connect_failed, the code of a problem, or publish_denied and the like'),
  party: z.object({
    kind: z
      .enum(['device', 'service', 'requested', 'claimed', 'token', 'address', 'unknown'])
      .describe(
        'device, service: the server knew it; requested: an enrollment asked for this id; claimed: a certificate that was not accepted names it; token: the id of a token; address: nothing else is known',
      ),
    name: z.string(),
  }),
  detail: z.string().optional(),
  token: z.string().optional(),
  certificate: z
    .object({
      subject: z.string().optional(),
      issuer: z.string().optional(),
      names: z.string().optional().describe('subject alternative names'),
      serial: z.string().optional(),
      fingerprint: z.string().optional(),
      notBefore: z.string().optional(),
      notAfter: z.string().optional(),
    })
    .optional()
    .describe('what the client presented, each text of at most 256 characters; no check has confirmed it'),
  sentence: z.string().describe('the check that failed'),
  remedy: z.string().describe('what mends it'),
};

const group = z.object({
  ...facts,
  count: z.int(),
  isAtLeast: z.boolean().describe('the limits of events left some out'),
  firstAt: time,
  lastAt: time,
  addresses: z.array(z.string()).describe('a few of the newest'),
  topics: z.array(z.string()).describe('a few of the newest'),
});

const list = z.object({
  serverTime: time,
  since: time,
  until: time,
  readSince: time.describe(
    'from here on all events were read: later than since where there are more than 5,000 of a type',
  ),
  groups: z.array(group).describe('the newest first'),
  moreGroups: z.int().describe('groups that the limit left out'),
  buckets: z.object({
    seconds: z.int(),
    at: z.array(z.number()).describe('begin of each bucket, in seconds since 1970'),
    connection: z.array(z.int()),
    enrollment: z.array(z.int()),
    renewal: z.array(z.int()),
    topic: z.array(z.int()),
  }),
});

const refusal = z.object({
  ...facts,
  at: time,
  leftOut: z.int().describe('refusals of this kind that the limits of events left out before it'),
  address: z.string().optional(),
  topic: z.string().optional(),
});

export const refusalEndpoints = {
  listRefusals: {
    method: 'GET',
    path: '/v1/refusals',
    access: 'viewer',
    summary:
      'connections, enrollments, renewals and topics that were refused, grouped by who and why, and counted over time',
    query: filter.extend({
      since: time.optional().describe('left out: an hour ago'),
      until: time.optional(),
      limit: decimal(1, 1_000).default(200).describe('groups'),
    }),
    answer: list,
  },
  followRefusals: {
    method: 'GET',
    path: '/v1/refusals/follow',
    access: 'viewer',
    summary: 'follow refusals, one per line; as server-sent events when the client accepts text/event-stream',
    query: filter,
    headers: resumeHeaders,
    answer: refusal,
    mediaType: 'application/x-ndjson',
    stream: 'lines',
  },
} as const satisfies Record<string, Endpoint>;
