/** The server itself: health, metrics, trust bundle, and the description of this API. */

import { asProblem, DEFAULT_DEVICE_SCOPE, Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { serverEndpoints as endpoints, PROBE_MEDIA_TYPE } from '../api/server.ts';
import { isoTime } from '../iso-time.ts';
import { probeAnswer } from '../probes.ts';
import type { RoutesOptions } from './routes.ts';
import type { SinkControl } from './sinks.ts';

export function addServerRoutes(
  app: FastifyInstance,
  { registry, telemetry, controls, sinks, version, runtime, node, now }: RoutesOptions,
): void {
  addEndpoint(app, endpoints.live, () => probeAnswer(true).text);
  addEndpoint(app, endpoints.ready, async ({ reply }) => {
    const { status, text } = probeAnswer(await controls.isReady());
    if (status === 200) return text;
    void reply.code(status).type(PROBE_MEDIA_TYPE).send(text);
    return undefined;
  });
  addEndpoint(app, endpoints.health, async () => {
    await registry.findPolicy(DEFAULT_DEVICE_SCOPE).catch((error: unknown) => {
      throw new Problem('unavailable', { reason: asProblem(error).message, cause: error });
    });
    const { isDiskLow, isUnderPressure } = telemetry.counters();
    const state = isDiskLow ? ('disk full' as const) : isUnderPressure ? ('behind' as const) : ('ok' as const);
    const [certificates, clock, sessions] = [controls.certificates(), controls.clock(), controls.sessionStore()];
    const isDegraded = [state, certificates, clock, sessions].some((part) => part !== 'ok');
    const status = isDegraded ? ('degraded' as const) : ('ok' as const);
    const found = { status, version, runtime, node, time: isoTime(now()), database: 'ok' as const };
    return { ...found, certificates, clock, telemetry: state, sessions, ...sinkHealth(sinks) };
  });
  addEndpoint(app, endpoints.trustBundle, () => controls.trustBundlePem());
  addEndpoint(app, endpoints.metrics, () => controls.metrics());
  addEndpoint(app, endpoints.describeApi, () => app.swagger() as unknown as Record<string, unknown>);
}

function sinkHealth(sinks: SinkControl) {
  const found = sinks.list();
  if (found.length === 0) return {};
  const down = found.filter(({ state }) => state === 'down').length;
  const untrusted = found.filter(({ isUntrusted }) => isUntrusted).length;
  return { sinks: { up: found.length - down, down, untrusted } };
}
