/** Live sessions: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { longPageLimit, time } from './schemas.ts';

export const sessionView = z.object({
  identity: z.string(),
  clientId: z.string(),
  address: z.string(),
  serial: z.string(),
  connectedAt: time,
  notAfter: time,
});

const sessionQuery = z.strictObject({
  after: z.string().max(256).optional().describe('the page of client ids greater than this one'),
  limit: longPageLimit,
});

export const sessionEndpoints = {
  listSessions: {
    method: 'GET',
    path: '/v1/sessions',
    access: 'viewer',
    summary: 'list live sessions in the order of their client ids',
    query: sessionQuery,
    answer: z.array(sessionView),
  },
} as const satisfies Record<string, Endpoint>;
