/** Live sessions: what operators send and read. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { time } from './shapes.ts';

export const sessionView = z.object({
  identity: z.string(),
  clientId: z.string(),
  address: z.string(),
  serial: z.string(),
  connectedAt: time,
  notAfter: time,
});

export const sessionEndpoints = {
  listSessions: {
    method: 'GET',
    path: '/v1/sessions',
    access: 'operator',
    summary: 'list live sessions',
    answer: z.array(sessionView),
  },
} as const satisfies Record<string, Endpoint>;
