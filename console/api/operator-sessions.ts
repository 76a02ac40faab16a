/** Sessions of operators who signed in: requests and responses. Not those of MQTT. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { operatorName } from './operators.ts';
import { checkedText, longPageLimit, time } from './schemas.ts';

const ID = '^[0-9a-f]{16}$';
const sessionId = checkedText(
  (text) => (new RegExp(ID).test(text) ? text : undefined),
  'the id of a session, 16 lower-case hexadecimal digits',
  ID,
);

const sessionView = z.object({
  id: z.string(),
  operator: z.string(),
  method: z.string(),
  createdAt: time,
  lastSeenAt: time.describe('to a minute'),
  authenticatedAt: time,
  expiresAt: time.describe('in any case; earlier without requests'),
  address: z.string().describe('from which the operator signed in'),
  userAgent: z.string().describe('as the browser states it'),
  isCurrent: z.boolean().describe('of this request'),
});

export const operatorSessionEndpoints = {
  listOperatorSessions: {
    method: 'GET',
    path: '/v1/operator-sessions',
    access: 'viewer',
    summary: 'list sessions of operators who signed in, oldest first: an admin sees all, others their own',
    query: z.strictObject({
      operator: operatorName.optional().describe('of this operator only'),
      after: sessionId.optional().describe('the page behind this session'),
      limit: longPageLimit,
    }),
    answer: z.array(sessionView),
  },
  endOperatorSession: {
    method: 'POST',
    path: '/v1/operator-sessions/:id/end',
    access: 'viewer',
    summary: 'end a session and its open streams: an admin any, an operator who signed in the own',
    params: z.strictObject({ id: sessionId }),
    answer: z.object({}),
  },
} as const satisfies Record<string, Endpoint>;
