/** The state of the server, or of all nodes of the fleet, in few numbers, and their history: requests and responses. */

import { z } from 'zod';
import { NODE_STATES } from '../node-control.ts';
import type { Endpoint } from './endpoint.ts';
import { decimal, time } from './schemas.ts';

const refused = z.object({
  connections: z.int().describe('to the MQTT listener'),
  enrollments: z.int().describe('enrollments, renewals and connections of the EST server'),
  topics: z.int().describe('publishes and subscriptions that the policy denied'),
});

const sessions = z.object({
  connected: z.int().describe('MQTT clients, of devices and services'),
  pending: z.int().describe('connections without a completed CONNECT'),
  persistent: z.int(),
});

const perSecond = z
  .object({
    connects: z.number(),
    received: z.number().describe('PUBLISH packets from clients'),
    stored: z.number().describe('messages of telemetry'),
    sent: z.number().describe('PUBLISH packets to clients'),
    dropped: z.number().describe('QoS 0 messages to clients that read too slowly'),
    refused: z.number().describe('connections, enrollments, renewals and topics'),
    busy: z
      .number()
      .describe('part of the time in which the busiest thread was busy, 0 to 1; of several nodes that of the busiest'),
  })
  .describe('means of about the last quarter of a minute');

const journal = z.object({
  state: z
    .enum(['ok', 'behind', 'held', 'disk full'])
    .describe('held: the last write failed and is repeated; disk full: nothing is stored; of several nodes the worst'),
  queuedBytes: z.int(),
  commitsPerSecond: z.number(),
  commitMs: z.number().optional().describe('mean time from receipt to acknowledgement; absent without a message'),
  commitP99Ms: z
    .number()
    .optional()
    .describe('what 99 of 100 commits of the last half minute took at most; of several nodes that of the slowest'),
  diskFreeBytes: z.int().describe('of several nodes that of the one with the least room'),
  diskFloorBytes: z.int().describe('below it nothing is stored; 0: the disk is not monitored'),
  heldDevices: z.int().describe('over their share of today'),
  heldGroups: z.int(),
});

const sinks = z.array(
  z.object({
    name: z.string(),
    state: z.string(),
    reason: z.string().optional().describe('why it is down'),
    isUntrusted: z.boolean(),
    lagMessages: z.int(),
    lagSeconds: z.number(),
    forwarded: z.int(),
    deadLettered: z.int(),
  }),
);

const total = z.int().describe('since the start');

const nodeFigures = z.object({
  startedAt: time,
  isReady: z.boolean(),
  ...{ sessions, perSecond },
  totals: z.object({ connects: total, received: total, stored: total, sent: total, dropped: total }),
  ...{ refused, refusedLastHour: refused },
  refusals: z.array(
    z.object({
      by: z.enum(['mqtt', 'est', 'policy']),
      reason: z.string(),
      total,
      perSecond: z.number(),
    }),
  ),
  clonesSuspected: z.int(),
  journal,
  lagMs: z.number().optional().describe('how late its event loop ran what was due, 99 of 100 times at most'),
  sinks: sinks.optional().describe('absent where another node forwards'),
  busiest: z
    .array(z.object({ device: z.string(), bytes: z.int() }))
    .describe('the devices of which this node stored most today'),
});

const fleet = {
  time,
  version: z.string().describe('of the node that answers'),
  node: z.string().describe('that answers; main where the server shares its store with no other'),
  nodes: z
    .array(
      z.object({
        name: z.string(),
        state: z.enum(NODE_STATES),
        since: time.describe('in this state'),
        roles: z.array(z.string()),
        version: z.string(),
        figures: nodeFigures.optional().describe('absent where it did not answer in time, or does not run'),
      }),
    )
    .describe('servers that share a store, in the order of their names; empty where the server is alone'),
  unanswered: z
    .array(z.string())
    .describe('nodes that run and did not answer within a second: what they count is missing here'),
};

const overview = z.object({
  ...fleet,
  startedAt: time.describe('of the node that answers'),
  isReady: z.boolean().describe('the same as /readyz of the node that answers'),
  devices: z.object({
    active: z.int(),
    suspended: z.int(),
    quarantined: z.int(),
    revoked: z.int(),
    most: z.int().describe('each is counted up to this number'),
  }),
  ...{ sessions, perSecond },
  refused: refused.describe('since the start, also those that the limits of events left out'),
  refusedLastHour: refused,
  clonesSuspected: z.int().describe('identities that seemed to be used in two places, since the start'),
  ...{ journal, sinks },
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
    node: z.string().describe('that answers'),
    unanswered: z.array(z.string()).describe('nodes that did not answer within a second: their numbers are missing'),
    at: series.describe('seconds since 1970, ascending'),
    connected: series,
    received: series,
    stored: series,
    sent: series,
    refusedConnections: series,
    refusedEnrollments: series,
    refusedTopics: series,
    queuedBytes: series,
    commitMs: z
      .array(z.number().nullable())
      .describe('null where nothing was committed; of several nodes that of the slowest'),
    busy: series.describe('of several nodes that of the busiest'),
  })
  .describe(
    'one value per sample in each series, since the start at the earliest; rates are per second. Of all nodes that share a store: what a node counted before it was started again is missing',
  );

export const overviewEndpoints = {
  showOverview: {
    method: 'GET',
    path: '/v1/overview',
    access: 'viewer',
    summary: 'the state of the server, or of all nodes of the fleet, in few numbers',
    answer: overview,
  },
  showFleet: {
    method: 'GET',
    path: '/v1/overview/nodes',
    access: 'viewer',
    summary: 'the numbers of each node of the fleet alone',
    answer: z.object(fleet),
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
