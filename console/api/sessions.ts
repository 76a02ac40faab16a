/** Live sessions of all nodes: requests and responses. */

import { formatIdentity, parseIdentity } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText, longPageLimit, nodeName, time, unanswered } from './schemas.ts';

export const sessionView = z.object({
  identity: z.string(),
  clientId: z.string(),
  node: z.string().describe('that has its connection'),
  address: z.string(),
  serial: z.string(),
  connectedAt: time,
  notAfter: time,
});

const sessionQuery = z.strictObject({
  after: z.string().max(256).optional().describe('the page of client ids greater than this one'),
  identity: checkedText(
    (text) => {
      const identity = parseIdentity(text);
      return identity && formatIdentity(identity);
    },
    'device/ID or service/NAME',
    '^(device|service)/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  )
    .optional()
    .describe('sessions of this device or service alone'),
  node: nodeName.optional().describe('sessions that are connected to this node alone'),
  limit: longPageLimit,
});

export const sessionEndpoints = {
  listSessions: {
    method: 'GET',
    path: '/v1/sessions',
    access: 'viewer',
    summary: 'list the live sessions of all nodes in the order of their client ids',
    query: sessionQuery,
    answer: z.object({ sessions: z.array(sessionView), unanswered }),
  },
} as const satisfies Record<string, Endpoint>;
