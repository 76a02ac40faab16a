/** The server itself: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { time } from './schemas.ts';

export const LIVE_PATH = '/livez';
export const READY_PATH = '/readyz';
export const PROBE_MEDIA_TYPE = 'text/plain; charset=utf-8';

const health = z.object({
  status: z
    .enum(['ok', 'degraded'])
    .describe('degraded: certificates, clock, telemetry or sessions are not ok; all else works'),
  version: z.string(),
  runtime: z.string().describe('the JavaScript runtime and its version: node 26.10.0'),
  time,
  node: z.string().describe('that answers; main where the server shares its store with no other'),
  database: z.literal('ok'),
  sinks: z
    .object({ up: z.int(), down: z.int(), untrusted: z.int() })
    .optional()
    .describe(
      'absent where there are none; one that is down keeps the server from nothing; untrusted: down over a certificate',
    ),
  certificates: z
    .enum(['ok', 'refused'])
    .describe('refused: a new server certificate could not be used; the old one is'),
  clock: z
    .enum(['ok', 'behind', 'skewed'])
    .describe(
      'behind: it was set back behind the newest entry of the audit; skewed: it is more than a second off the clock of the database that nodes share',
    ),
  sessions: z
    .enum(['ok', 'short'])
    .describe(
      'short: what is kept between connections is nearly full, or an owner was refused in the last ten minutes',
    ),
  telemetry: z.enum(['ok', 'behind', 'disk full']).describe('anything but ok: it is held or refused, not acknowledged'),
});

export const serverEndpoints = {
  live: {
    method: 'GET',
    path: LIVE_PATH,
    access: 'probe',
    summary: 'whether the process answers',
    answer: z.string(),
    mediaType: PROBE_MEDIA_TYPE,
  },
  ready: {
    method: 'GET',
    path: READY_PATH,
    access: 'probe',
    summary: 'whether the server takes devices; 503 while it starts, stops or cannot store',
    answer: z.string(),
    mediaType: PROBE_MEDIA_TYPE,
  },
  health: {
    method: 'GET',
    path: '/v1/health',
    access: 'anyone',
    summary: 'report the health of the server, of one node where there are several',
    answer: health,
  },
  trustBundle: {
    method: 'GET',
    path: '/v1/trust-bundle',
    access: 'viewer',
    summary: 'the root certificates that devices of this fleet trust',
    answer: z.string(),
    mediaType: 'application/pem-certificate-chain',
  },
  metrics: {
    method: 'GET',
    path: '/metrics',
    access: 'metrics',
    summary: 'counters in the text format of Prometheus',
    answer: z.string(),
    mediaType: 'text/plain; version=0.0.4; charset=utf-8',
  },
  describeApi: {
    method: 'GET',
    path: '/openapi.json',
    access: 'viewer',
    summary: 'this document',
    answer: z.record(z.string(), z.unknown()),
  },
} as const satisfies Record<string, Endpoint>;
