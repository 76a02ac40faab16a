/** The state of the server in few numbers, and their history: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { decimal, time } from './schemas.ts';

const refused = z.object({
  connections: z.int().describe('to the MQTT listener'),
  enrollments: z.int().describe('enrollments, renewals and connections of the EST server'),
  topics: z.int().describe('publishes and subscriptions that the policy denied'),
});

const overview = z.object({
  time,
  version: z.string(),
  startedAt: time,
  isReady: z.boolean().describe('the same as /readyz'),
  devices: z.object({
    active: z.int(),
    suspended: z.int(),
    quarantined: z.int(),
    revoked: z.int(),
    most: z.int().describe('each is counted up to this number'),
  }),
  sessions: z.object({
    connected: z.int().describe('MQTT clients, of devices and services'),
    pending: z.int().describe('connections without a completed CONNECT'),
    persistent: z.int(),
  }),
  perSecond: z
    .object({
      connects: z.number(),
      received: z.number().describe('PUBLISH packets from clients'),
      stored: z.number().describe('messages of telemetry'),
      sent: z.number().describe('PUBLISH packets to clients'),
      dropped: z.number().describe('QoS 0 messages to clients that read too slowly'),
      busy: z.number().describe('part of the time in which the busiest thread of the server was busy, 0 to 1'),
    })
    .describe('means of about the last quarter of a minute'),
  refused: refused.describe('since the server started, also those that the limits of events left out'),
  refusedLastHour: refused,
  clonesSuspected: z.int().describe('identities that seemed to be used in two places, since the server started'),
  journal: z.object({
    state: z
      .enum(['ok', 'behind', 'held', 'disk full'])
      .describe('held: the last write failed and is repeated; disk full: nothing is stored'),
    queuedBytes: z.int(),
    commitMs: z.number().optional().describe('mean time from receipt to acknowledgement; absent without a message'),
    diskFreeBytes: z.int(),
    diskFloorBytes: z.int().describe('below it nothing is stored; 0: the disk is not monitored'),
    heldDevices: z.int().describe('over their share of today'),
    heldGroups: z.int(),
  }),
  sinks: z.array(
    z.object({
      name: z.string(),
      state: z.string(),
      reason: z.string().optional().describe('why it is down'),
      lagMessages: z.int(),
      lagSeconds: z.number(),
      deadLettered: z.int(),
    }),
  ),
  expiring: z
    .array(
      z.object({
        kind: z.string(),
        in7Days: z.int(),
        in30Days: z.int(),
        late: z.int().describe('nine tenths of the life are over'),
        nextAt: time.optional(),
      }),
    )
    .describe('kinds of which something expires within 90 days, or is late; counted every ten minutes'),
});

const series = z.array(z.number());

const history = z
  .object({
    at: series.describe('seconds since 1970, ascending'),
    connected: series,
    received: series,
    stored: series,
    sent: series,
    refusedConnections: series,
    refusedEnrollments: series,
    refusedTopics: series,
    queuedBytes: series,
    commitMs: z.array(z.number().nullable()).describe('null where nothing was committed'),
    busy: series,
  })
  .describe('one value per sample in each series, since the start at the earliest; rates are per second');

export const overviewEndpoints = {
  showOverview: {
    method: 'GET',
    path: '/v1/overview',
    access: 'viewer',
    summary: 'the state of the server in few numbers',
    answer: overview,
  },
  showHistory: {
    method: 'GET',
    path: '/v1/overview/history',
    access: 'viewer',
    summary: 'the same numbers over the last hours, a sample every 15 seconds or less often',
    query: z.strictObject({
      minutes: decimal(1, 360).default(60).describe('up to now'),
    }),
    answer: history,
  },
} as const satisfies Record<string, Endpoint>;
