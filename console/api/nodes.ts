/** The nodes of the server that serve MQTT: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText, time } from './schemas.ts';

const NODE_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

const nodeView = z.object({
  name: z.string().describe('main where the server is one node, otherwise w1, w2 ...'),
  kind: z.enum(['process', 'thread']),
  state: z
    .enum(['serving', 'draining', 'restarting', 'stopped'])
    .describe('restarting: its thread ended and is started again; stopped: it was drained and stays down'),
  since: time.describe('in this state'),
  sessions: z.int(),
  eventLoopBusy: z.number().optional().describe('0 to 1, of the last second; absent where it did not answer'),
  crashes: z.int().describe('times that its thread ended by an error since the server started'),
});

const drainRequest = z.strictObject({
  withinSeconds: z.number().min(0).max(3_600).optional().describe('time for all sessions; that of the configuration'),
  sessionsPerSecond: z
    .number()
    .min(0)
    .max(1_000_000)
    .optional()
    .describe('0: all at once; that of the configuration when left out'),
  restart: z
    .boolean()
    .default(true)
    .describe('start it again afterwards; otherwise it is down until the server restarts'),
});

export const nodeEndpoints = {
  listNodes: {
    method: 'GET',
    path: '/v1/nodes',
    access: 'viewer',
    summary: 'list the nodes that serve MQTT, with their sessions and load',
    answer: z.array(nodeView),
  },
  drainNode: {
    method: 'POST',
    path: '/v1/nodes/:name/drain',
    access: 'operator',
    summary: 'begin to end the sessions of one node; its clients connect again to the others',
    params: z.strictObject({
      name: checkedText((text) => (NODE_NAME.test(text) ? text : undefined), 'the name of a node, such as w1'),
    }),
    body: drainRequest,
    answer: nodeView,
  },
} as const satisfies Record<string, Endpoint>;
