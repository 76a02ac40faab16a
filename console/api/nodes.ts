/** The nodes of the fleet: requests and responses. */

import { z } from 'zod';
import { NODE_STATES } from '../node-control.ts';
import type { Endpoint } from './endpoint.ts';
import { nodeName, pageLimit, time, tokenId } from './schemas.ts';

const nodeView = z.object({
  name: z
    .string()
    .describe('main where the server is one node, w1, w2 ... for its threads, node.name with a shared store'),
  kind: z.enum(['process', 'thread']),
  state: z
    .enum(NODE_STATES)
    .describe(
      'drained: a process that accepts no connection; restarting: its thread ended and is started again; stopped: a thread that was ' +
        'drained and stays down; deaf: no heartbeat of it is confirmed; gone: it ended; removed: it is refused until it joins again',
    ),
  since: time.describe('in this state'),
  sessions: z.int(),
  eventLoopBusy: z.number().optional().describe('0 to 1, of the last second; absent where it did not answer'),
  crashes: z.int().describe('times that its thread ended by an error since the server started'),
  server: z
    .object({
      host: z.string().optional().describe('name of its host'),
      roles: z.array(z.string()),
      version: z.string().describe('its release'),
      protocol: z.int().describe('what it writes for other nodes: a number that grows with releases'),
      startedAt: time,
      connections: z.int().describe('sessions, and connections that are no session yet'),
      skewMs: z.int().describe("the database's clock minus that of the node"),
      closedBy: time.optional().describe('of a node that is deaf: when it has closed its connections'),
    })
    .optional()
    .describe('of servers that share a store'),
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
    .optional()
    .describe(
      'it serves again afterwards; otherwise it is to be undrained or restarted. When left out: true for a thread, false for a process',
    ),
});

const nodeTokenView = z.object({
  id: z.string(),
  withCaKeys: z.boolean(),
  createdAt: time,
  createdBy: z.string(),
  expiresAt: time,
});

const nodeParams = z.strictObject({ name: nodeName });

export const nodeEndpoints = {
  listNodes: {
    method: 'GET',
    path: '/v1/nodes',
    access: 'viewer',
    summary: 'list the nodes of the fleet, with their state, sessions and load',
    answer: z.array(nodeView),
  },
  drainNode: {
    method: 'POST',
    path: '/v1/nodes/:name/drain',
    access: 'operator',
    summary: 'begin to end the sessions of one node; its clients connect again to the others',
    params: nodeParams,
    body: drainRequest,
    answer: nodeView,
  },
  undrainNode: {
    method: 'POST',
    path: '/v1/nodes/:name/undrain',
    access: 'operator',
    summary: 'have a drained node serve again',
    params: nodeParams,
    answer: nodeView,
  },
  removeNode: {
    method: 'POST',
    path: '/v1/nodes/:name/remove',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'end a node for good: its process ends, and none of this name starts until it joins again',
    params: nodeParams,
    body: z.strictObject({ force: z.boolean().default(false).describe('also a node that is heard') }).prefault({}),
    answer: nodeView.extend({
      databaseSql: z
        .array(z.string())
        .describe('what a superuser of the database has to run so that its role there ends; empty: nothing'),
    }),
  },
  listNodeTokens: {
    method: 'GET',
    path: '/v1/node-tokens',
    access: 'admin',
    summary: 'list tokens by which a host can join the fleet now, in the order of their ids, without their secrets',
    query: z.strictObject({ after: tokenId.optional().describe('the page after this id'), limit: pageLimit }),
    answer: z.array(nodeTokenView),
  },
  revokeNodeToken: {
    method: 'POST',
    path: '/v1/node-tokens/:id/revoke',
    access: 'admin',
    summary: 'refuse a node token from now on; a node that has joined with it stays',
    params: z.strictObject({ id: tokenId }),
    answer: nodeTokenView,
  },
  createNodeToken: {
    method: 'POST',
    path: '/v1/node-tokens',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'create a one-time token by which another host joins the fleet as a node',
    body: z
      .strictObject({
        ttlSeconds: z.int().min(60).max(86_400).default(3_600),
        withCaKeys: z.boolean().default(false).describe('its node may have the role enroll, and gets keys of the CA'),
      })
      .prefault({}),
    answer: z.object({
      id: z.string(),
      text: z.string().describe('the token itself: shown here and never again'),
      expiresAt: time,
      withCaKeys: z.boolean(),
    }),
  },
} as const satisfies Record<string, Endpoint>;
