/** What each operator endpoint does, as short sequences over the registry, the telemetry and the fleet. */

import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { type DeviceId, formatIdentity, type Identity } from '../contract/identity.ts';
import {
  DEFAULT_DEVICE_POLICY,
  DEFAULT_DEVICE_SCOPE,
  DEFAULT_SERVICE_POLICY,
  DEFAULT_SERVICE_SCOPE,
  type PolicyScope,
} from '../contract/policy.ts';
import { asProblem, Problem } from '../contract/problem.ts';
import type { Registry, Revocation } from '../registry/registry.ts';
import type { Telemetry, TelemetryRange } from '../telemetry/telemetry.ts';
import { serve } from './application.ts';
import { type Answer, endpoints } from './endpoints.ts';
import { EXPORT_MEDIA_TYPES, exportText } from './export.ts';
import type { Fleet } from './fleet.ts';
import type { Followers } from './followers.ts';
import { writeMetrics } from './metrics.ts';
import {
  isoTime,
  type RevokeAnswer,
  viewAudit,
  viewCertificate,
  viewDevice,
  viewMessage,
  viewRevocation,
  viewService,
  viewSession,
  viewToken,
} from './views.ts';

export interface RoutesOptions {
  readonly registry: Registry;
  readonly telemetry: Telemetry;
  readonly followers: Followers;
  readonly fleet: Fleet;
  readonly version: string;
  readonly now: () => number;
}

export function addRoutes(app: FastifyInstance, options: RoutesOptions): void {
  addTokenRoutes(app, options);
  addDeviceRoutes(app, options);
  addServiceRoutes(app, options);
  addPolicyRoutes(app, options);
  addTelemetryRoutes(app, options);
  addServerRoutes(app, options);
}

function addTokenRoutes(app: FastifyInstance, { registry, fleet }: RoutesOptions): void {
  serve(app, endpoints.mintToken, async ({ body, actor }) => {
    const { uses, ttlSeconds, group, labels, device } = body;
    const order = { maxUses: uses, ttlSeconds, group, labels, ...(device !== undefined && { device }) };
    const minted = await registry.mintToken(order, actor);
    return { token: viewToken(minted.record), text: fleet.mintTokenText(minted) };
  });
  serve(app, endpoints.listTokens, async () => (await registry.listTokens()).map(viewToken));
  serve(app, endpoints.voidToken, async ({ params, actor }) => {
    const record = await registry.voidToken(params.id, actor);
    if (record === undefined) throw new Problem('token_unknown');
    return viewToken(record);
  });
}

function addDeviceRoutes(app: FastifyInstance, { registry, fleet, now }: RoutesOptions): void {
  serve(app, endpoints.listDevices, async ({ query }) => {
    const { group, status, after, limit } = query;
    const devices = await registry.listDevices({
      limit,
      ...(group !== undefined && { group }),
      ...(status !== undefined && { status }),
      ...(after !== undefined && { after }),
    });
    return devices.map(viewDevice);
  });
  serve(app, endpoints.showDevice, async ({ params }) => {
    const record = await registry.findDevice(params.id);
    if (record === undefined) throw new Problem('device_unknown');
    const holder: Identity = { kind: 'device', id: params.id };
    const certificates = await registry.listCertificates(holder);
    const session = fleet.sessions().find(({ identity }) => identity.kind === 'device' && identity.id === params.id);
    const at = now();
    return {
      ...viewDevice(record),
      certificates: certificates.map((certificate) => viewCertificate(certificate, at)),
      session: session && viewSession(session),
    };
  });
  serve(app, endpoints.revokeDevices, ({ body, actor }) => {
    const holders = body.ids.map((id): Identity => ({ kind: 'device', id }));
    return revoke(fleet, holders, now, () =>
      registry
        .revokeDevices(body.ids, body.reason, actor)
        .catch((error: unknown) => nameUnknown(registry, body.ids, error)),
    );
  });
}

/** In a list of a thousand the operator wants to know which one was misspelt. */
async function nameUnknown(registry: Registry, ids: readonly DeviceId[], error: unknown): Promise<never> {
  if (!(error instanceof Problem) || error.code !== 'device_unknown') throw error;
  const found = await Promise.all(ids.map((id) => registry.findDevice(id)));
  const unknown = ids.filter((_, index) => found[index] === undefined);
  const names = `${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ` and ${unknown.length - 5} more` : ''}`;
  throw new Problem('device_unknown', { detail: `there is no device ${names}; none was revoked`, cause: error });
}

function addServiceRoutes(app: FastifyInstance, { registry, fleet, now }: RoutesOptions): void {
  serve(app, endpoints.issueService, async ({ body, actor }) => {
    const { service, certificatePem, caPem } = await fleet.issueService({ ...body, actor });
    return { service: viewService(service), certificatePem, caPem };
  });
  serve(app, endpoints.listServices, async () => (await registry.listServices()).map(viewService));
  serve(app, endpoints.revokeService, ({ params, body, actor }) =>
    revoke(fleet, [{ kind: 'service', name: params.name }], now, async () => [
      await registry.revokeService(params.name, body.reason, actor),
    ]),
  );
}

/** Revokes, which waits until every live session was told to go, and counts the sessions that went. */
async function revoke(
  fleet: Fleet,
  holders: readonly Identity[],
  now: () => number,
  act: () => Promise<readonly Revocation[]>,
): Promise<RevokeAnswer> {
  const names = new Set(holders.map(formatIdentity));
  const countSessions = () => fleet.sessions().filter(({ identity }) => names.has(formatIdentity(identity))).length;
  const before = countSessions();
  const start = performance.now();
  const revocations = await act();
  const tookMs = Math.round((performance.now() - start) * 1000) / 1000;
  return {
    revocations: revocations.map(viewRevocation),
    revokedAt: isoTime(revocations.reduce((latest, { revokedAt }) => Math.max(latest, revokedAt), 0) || now()),
    sessionsClosed: Math.max(0, before - countSessions()),
    tookMs,
  };
}

function addPolicyRoutes(app: FastifyInstance, { registry, fleet }: RoutesOptions): void {
  serve(app, endpoints.showPolicy, ({ params }) => effectivePolicy(registry, `${params.kind}/${params.name}`));
  serve(app, endpoints.setPolicy, async ({ params, body, actor }) => {
    const scope: PolicyScope = `${params.kind}/${params.name}`;
    fleet.checkPolicy(body);
    await registry.setPolicy(scope, body, actor);
    return effectivePolicy(registry, scope);
  });
  serve(app, endpoints.explainPolicy, ({ body }) => fleet.explain(body.identity, body.verb, body.topic));
}

/** The first policy that was set, from the scope to the one that stands in for it, to the one that is built in. */
async function effectivePolicy(
  registry: Registry,
  scope: PolicyScope,
): Promise<Answer<(typeof endpoints)['showPolicy']>> {
  const [fallback, builtIn] = scope.startsWith('group/')
    ? [DEFAULT_DEVICE_SCOPE, DEFAULT_DEVICE_POLICY]
    : [DEFAULT_SERVICE_SCOPE, DEFAULT_SERVICE_POLICY];
  for (const decidedBy of new Set([scope, fallback])) {
    const policy = await registry.findPolicy(decidedBy);
    if (policy !== undefined) return { scope, isDefault: decidedBy !== scope, decidedBy, policy: lists(policy) };
  }
  return { scope, isDefault: true, decidedBy: 'built-in', policy: lists(builtIn) };
}

function addTelemetryRoutes(app: FastifyInstance, { telemetry, followers }: RoutesOptions): void {
  serve(app, endpoints.queryTelemetry, async ({ query }) => {
    const { device, limit } = query;
    return (await telemetry.query({ ...rangeOf(query), device, limit })).map(viewMessage);
  });
  serve(app, endpoints.lastTelemetry, async ({ query }) => (await telemetry.last(query.device)).map(viewMessage));
  serve(app, endpoints.seriesTelemetry, async ({ query }) => {
    const { device, stream, value, since, until, bucketSeconds } = query;
    const { points, ignored } = await telemetry.series({
      device,
      stream,
      pointer: value,
      since: Date.parse(since),
      until: Date.parse(until),
      bucket: Math.round(bucketSeconds * 1000),
    });
    return { points: points.map((point) => ({ ...point, at: isoTime(point.at) })), ignored };
  });
  serve(app, endpoints.exportTelemetry, async ({ query, reply }) => {
    const text = exportText(telemetry.pages(rangeOf(query)), query.format);
    const first = await text.next(); // what is wrong with the request shows before the answer begins
    const whole = async function* () {
      if (!first.done) yield first.value;
      yield* text;
    };
    reply.raw.socket?.setTimeout(0);
    await reply.type(EXPORT_MEDIA_TYPES[query.format]).send(Readable.from(whole()));
    return undefined;
  });
  serve(app, endpoints.telemetryStats, async () => {
    const { segments, messages, bytes, damaged } = await telemetry.stats();
    const intake = telemetry.counters();
    return { messages, bytes, segments: [...segments], damaged: [...damaged], intake };
  });
  serve(app, endpoints.pruneTelemetry, async ({ body }) => {
    const { olderThanSeconds } = body;
    const bound = olderThanSeconds === undefined ? undefined : { age: olderThanSeconds * 1000, bytes: 0 };
    return { removed: [...(await telemetry.prune(bound))] };
  });
  serve(app, endpoints.followTelemetry, async ({ query, reply }) => {
    const headers = reply.getHeaders() as Record<string, string>;
    followers.start(reply.raw, query.device, headers);
    reply.hijack();
    return undefined;
  });
}

function rangeOf(query: {
  readonly device?: DeviceId | undefined;
  readonly stream?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}): TelemetryRange {
  const { device, stream, since, until } = query;
  return {
    ...(device !== undefined && { device }),
    ...(stream !== undefined && { stream }),
    ...(since !== undefined && { since: Date.parse(since) }),
    ...(until !== undefined && { until: Date.parse(until) }),
  };
}

/** For `writeMetrics()`. */
function telemetryMetrics(telemetry: Telemetry): Readonly<Record<string, number>> {
  const { stored, storedQos0, droppedQos0, refused, repeated, commits, queuedBytes, isUnderPressure } =
    telemetry.counters();
  return {
    telemetry_stored_total: stored,
    telemetry_stored_qos0_total: storedQos0,
    telemetry_dropped_qos0_total: droppedQos0,
    telemetry_refused_total: refused,
    telemetry_repeated_total: repeated,
    telemetry_commits_total: commits,
    telemetry_queued_bytes: queuedBytes,
    telemetry_under_pressure: isUnderPressure ? 1 : 0,
  };
}

function addServerRoutes(app: FastifyInstance, { registry, telemetry, fleet, version, now }: RoutesOptions): void {
  serve(app, endpoints.listAudit, async ({ query }) => {
    const { before, limit } = query;
    const entries = await registry.listAudit({ limit, ...(before !== undefined && { before }) });
    return entries.map(viewAudit);
  });
  serve(app, endpoints.listSessions, () => fleet.sessions().map(viewSession));
  serve(app, endpoints.health, async () => {
    await registry.findPolicy(DEFAULT_DEVICE_SCOPE).catch((error: unknown) => {
      throw new Problem('unavailable', { reason: asProblem(error).message, cause: error });
    });
    return { status: 'ok' as const, version, time: isoTime(now()), database: 'ok' as const };
  });
  serve(app, endpoints.trustBundle, () => fleet.trustBundlePem());
  serve(app, endpoints.metrics, () => writeMetrics({ ...fleet.counters(), ...telemetryMetrics(telemetry) }, version));
  serve(app, endpoints.describeApi, () => app.swagger() as unknown as Record<string, unknown>);
}

function lists(
  policy: Readonly<Record<'connect' | 'publish' | 'subscribe' | 'receive' | 'retain', readonly string[]>>,
) {
  const { connect, publish, subscribe, receive, retain } = policy;
  return {
    connect: [...connect],
    publish: [...publish],
    subscribe: [...subscribe],
    receive: [...receive],
    retain: [...retain],
  };
}
