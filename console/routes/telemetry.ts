/** What was accepted, read back: by device, by stream, as a series, as a download, as it comes. */

import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { DeviceId } from '../../contract/identity.ts';
import type { TelemetryRange } from '../../telemetry/telemetry.ts';
import { telemetryEndpoints as endpoints } from '../api/telemetry.ts';
import { serve } from '../application.ts';
import { EXPORT_MEDIA_TYPES, exportText } from '../export.ts';
import { isoTime } from '../iso-time.ts';
import { messageJson, viewMessage } from '../message-view.ts';
import type { RoutesOptions } from './routes.ts';

export function addTelemetryRoutes(app: FastifyInstance, { telemetry, followers }: RoutesOptions): void {
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
    followers.start(reply.raw, {
      headers: reply.getHeaders() as Record<string, string>,
      form: 'lines',
      subscribe: (tell) => telemetry.follow(query.device, (message) => tell(messageJson(message))),
    });
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
