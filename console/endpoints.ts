/**
 * Every door handle of the console in one table: method, path, who may use it, what goes in and what comes out. The server
 * answers from it and the client asks by it, so neither can know a path that the other doesn't. Holds no behaviour.
 */

import { z } from 'zod';
import * as shape from './schemas.ts';

/** `operator`: over the unix socket, or with the operator key. `anyone`: who can reach the listener. */
export type Access = 'operator' | 'anyone';

export interface Endpoint {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** `:name` stands for a parameter. */
  readonly path: `/${string}`;
  readonly access: Access;
  readonly summary: string;
  readonly params?: z.ZodType;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  readonly answer: z.ZodType;
  /** Of the answer; JSON unless said otherwise. */
  readonly mediaType?: string;
}

type Part = 'params' | 'query' | 'body';

/** A part as the caller writes it, defaults left out. */
export type Sent<E extends Endpoint, P extends Part> =
  E extends Record<P, infer S extends z.ZodType> ? z.input<S> : undefined;

/** A part as the server sees it, checked and with defaults. */
export type Checked<E extends Endpoint, P extends Part> =
  E extends Record<P, infer S extends z.ZodType> ? z.output<S> : undefined;

export type Answer<E extends Endpoint> = z.output<E['answer']>;

export const endpoints = {
  mintToken: {
    method: 'POST',
    path: '/v1/tokens',
    access: 'operator',
    summary: 'mint a bootstrap token',
    body: shape.mintOrder,
    answer: shape.mintedToken,
  },
  listTokens: {
    method: 'GET',
    path: '/v1/tokens',
    access: 'operator',
    summary: 'list bootstrap tokens, never their secrets',
    answer: z.array(shape.tokenView),
  },
  voidToken: {
    method: 'POST',
    path: '/v1/tokens/:id/void',
    access: 'operator',
    summary: 'make a bootstrap token worthless',
    params: shape.tokenParams,
    answer: shape.tokenView,
  },
  listDevices: {
    method: 'GET',
    path: '/v1/devices',
    access: 'operator',
    summary: 'list devices in the order of their ids',
    query: shape.deviceQuery,
    answer: z.array(shape.deviceView),
  },
  showDevice: {
    method: 'GET',
    path: '/v1/devices/:id',
    access: 'operator',
    summary: 'show a device, its certificates and its live session',
    params: shape.deviceParams,
    answer: shape.deviceDetail,
  },
  revokeDevices: {
    method: 'POST',
    path: '/v1/devices/revoke',
    access: 'operator',
    summary: 'revoke devices: all of them or, when one is unknown, none',
    body: shape.revokeOrder,
    answer: shape.revokeAnswer,
  },
  issueService: {
    method: 'POST',
    path: '/v1/services',
    access: 'operator',
    summary: 'issue a certificate for a back-end application',
    body: shape.serviceOrder,
    answer: shape.issuedService,
  },
  listServices: {
    method: 'GET',
    path: '/v1/services',
    access: 'operator',
    summary: 'list services',
    answer: z.array(shape.serviceView),
  },
  revokeService: {
    method: 'POST',
    path: '/v1/services/:name/revoke',
    access: 'operator',
    summary: 'revoke a service',
    params: shape.serviceParams,
    body: shape.serviceRevokeOrder,
    answer: shape.revokeAnswer,
  },
  showPolicy: {
    method: 'GET',
    path: '/v1/policies/:kind/:name',
    access: 'operator',
    summary: 'show the policy that applies to group/NAME, service/NAME or service/*',
    params: shape.policyParams,
    answer: shape.effectivePolicy,
  },
  setPolicy: {
    method: 'PUT',
    path: '/v1/policies/:kind/:name',
    access: 'operator',
    summary: 'set the policy of group/NAME, service/NAME or service/*; a list left out allows nothing',
    params: shape.policyParams,
    body: shape.policyDocument,
    answer: shape.effectivePolicy,
  },
  explainPolicy: {
    method: 'POST',
    path: '/v1/policies/explain',
    access: 'operator',
    summary: 'say which rule allows or refuses a topic',
    body: shape.explainOrder,
    answer: shape.explanation,
  },
  queryTelemetry: {
    method: 'GET',
    path: '/v1/telemetry',
    access: 'operator',
    summary: 'read accepted messages of a device back',
    query: shape.telemetryQuery,
    answer: z.array(shape.messageView),
  },
  lastTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/last',
    access: 'operator',
    summary: 'the newest message of each stream of each device',
    query: shape.ofOneDevice,
    answer: z.array(shape.messageView),
  },
  seriesTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/series',
    access: 'operator',
    summary: 'a number of the payloads of one stream, summed up per stretch of time',
    query: shape.seriesQuery,
    answer: shape.seriesView,
  },
  exportTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/export',
    access: 'operator',
    summary: 'any number of messages, oldest first, one a line; CSV when asked for',
    query: shape.exportQuery,
    answer: z.string(),
    mediaType: 'application/x-ndjson',
  },
  telemetryStats: {
    method: 'GET',
    path: '/v1/telemetry/stats',
    access: 'operator',
    summary: 'what is kept, and what came in',
    answer: shape.telemetryStats,
  },
  pruneTelemetry: {
    method: 'POST',
    path: '/v1/telemetry/prune',
    access: 'operator',
    summary: 'remove the days that are not to be kept any more',
    body: shape.pruneOrder,
    answer: shape.pruneAnswer,
  },
  followTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/follow',
    access: 'operator',
    summary:
      'messages as they are accepted, one a line; a follower that reads too slowly ends with a problem as last line',
    query: shape.ofOneDevice,
    answer: shape.messageView,
    mediaType: 'application/x-ndjson',
  },
  listAudit: {
    method: 'GET',
    path: '/v1/audit',
    access: 'operator',
    summary: 'who did what to whom, newest first',
    query: shape.auditQuery,
    answer: z.array(shape.auditView),
  },
  listSessions: {
    method: 'GET',
    path: '/v1/sessions',
    access: 'operator',
    summary: 'list live sessions',
    answer: z.array(shape.sessionView),
  },
  health: {
    method: 'GET',
    path: '/v1/health',
    access: 'anyone',
    summary: 'say whether the server can do its work',
    answer: shape.health,
  },
  trustBundle: {
    method: 'GET',
    path: '/v1/trust-bundle',
    access: 'operator',
    summary: 'the root certificates that devices of this fleet trust',
    answer: z.string(),
    mediaType: 'application/pem-certificate-chain',
  },
  metrics: {
    method: 'GET',
    path: '/metrics',
    access: 'operator',
    summary: 'counters in the text format of Prometheus',
    answer: z.string(),
    mediaType: 'text/plain; version=0.0.4; charset=utf-8',
  },
  describeApi: {
    method: 'GET',
    path: '/openapi.json',
    access: 'operator',
    summary: 'this document',
    answer: z.record(z.string(), z.unknown()),
  },
} as const satisfies Record<string, Endpoint>;
