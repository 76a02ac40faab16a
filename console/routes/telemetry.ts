/** Accepted messages: queried, summed up as a series, exported, pruned and followed. */

import { Readable } from 'node:stream';
import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { performAnnouncedAction, type Registry } from '../../registry/index.ts';
import {
  type DeviceSelection,
  parsePosition,
  positionNumber,
  type SegmentStats,
  type StoredMessage,
  type Telemetry,
  type TelemetryRange,
} from '../../telemetry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { telemetryEndpoints as endpoints } from '../api/telemetry.ts';
import type { StreamSource } from '../event-stream.ts';
import { type NodeTalkers, sumOfIntakes, sumOfTalkers } from '../fleet-telemetry.ts';
import { type FollowedJournal, followJournal } from '../follow-journal.ts';
import { isoTime } from '../iso-time.ts';
import { type FollowJournal, LiveFeeds } from '../live-feed.ts';
import { messageJson, viewMessage } from '../message-view.ts';
import { setNextLink } from '../paging.ts';
import { EXPORT_MEDIA_TYPES, exportText } from '../telemetry-export.ts';
import type { RoutesOptions } from './routes.ts';

const DEVICES_PER_PAGE = 10_000;

export function addTelemetryRoutes(app: FastifyInstance, options: RoutesOptions): void {
  addQueryRoutes(app, options);
  addExportRoute(app, options);
  addJournalRoutes(app, options);
  addFollowRoute(app, options);
}

/** Pages of messages, the newest of each stream, and series of numbers. */
function addQueryRoutes(app: FastifyInstance, { registry, telemetry }: RoutesOptions): void {
  addEndpoint(app, endpoints.queryTelemetry, async ({ query, reply }) => {
    const { device, group, limit } = query;
    const before = query.before === undefined ? undefined : parsePosition(query.before);
    if (device === undefined && group === undefined) throw expected('a device or a group', 'neither');
    const of = await devicesOf(query, registry);
    const asked = { ...rangeOf(query), ...of, limit, ...(before !== undefined && { before }) };
    const page = await telemetry.query(asked);
    const [oldest] = page;
    if (oldest !== undefined) setNextLink(reply, { before: positionNumber(oldest.position) });
    return page.map(viewMessage);
  });
  addEndpoint(app, endpoints.lastTelemetry, async ({ query, reply }) => {
    const { device, devices } = await devicesOf(query, registry);
    const page = await telemetry.last(device ?? devices, query.after);
    const end = page.at(-1);
    if (end !== undefined) setNextLink(reply, { after: `${end.device}/${end.stream}` });
    return page.map(viewMessage);
  });
  addEndpoint(app, endpoints.seriesTelemetry, async ({ query }) => {
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
}

function addExportRoute(app: FastifyInstance, { registry, telemetry }: RoutesOptions): void {
  addEndpoint(app, endpoints.exportTelemetry, async ({ query, reply }) => {
    const range = { ...rangeOf(query), ...(await devicesOf(query, registry)) };
    const text = exportText(telemetry.pages(range), query.format);
    const first = await text.next(); // a fault of the request is thrown before the answer begins
    const whole = async function* () {
      if (!first.done) yield first.value;
      yield* text;
    };
    reply.raw.socket?.setTimeout(0);
    await reply.type(EXPORT_MEDIA_TYPES[query.format]).send(Readable.from(whole()));
    return undefined;
  });
}

/** Sizes of the journal, and pruning by operators. */
function addJournalRoutes(app: FastifyInstance, { registry, telemetry, controls, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.telemetryStats, async () => {
    const [{ segments, messages, bytes, damaged }, others] = await Promise.all([
      telemetry.stats(),
      controls.otherNodes.intakes(),
    ]);
    const intake = sumOfIntakes(telemetry.counters(), others.all);
    const { age, bytes: most, groups = {} } = telemetry.retention;
    const ages = Object.entries(groups).map(([group, ageMs]) => [group, ageMs / 1000] as const);
    const retention = { ageSeconds: age / 1000, bytes: most, groups: Object.fromEntries(ages) };
    const unanswered = [...others.unanswered];
    return { messages, bytes, segments: [...segments], damaged: [...damaged], retention, intake, unanswered };
  });
  addEndpoint(app, endpoints.telemetryTalkers, async ({ query: { by, limit } }) => {
    const { all, unanswered } = await controls.otherNodes.talkers(by);
    const { since, isCounted, deviceShare, groupShare, ...own } = telemetry.shares.today(limit, by);
    const sumOf = (kind: keyof NodeTalkers) => [
      ...sumOfTalkers([own[kind], ...all.map((other) => other[kind])], limit, by),
    ];
    return {
      ...{ time: isoTime(now()), since: isoTime(since), isCounted, unanswered: [...unanswered] },
      ...{ devices: sumOf('devices'), groups: sumOf('groups') },
      ...{ deviceShareBytes: deviceShare, groupShareBytes: groupShare },
    };
  });
  addEndpoint(app, endpoints.pruneTelemetry, async ({ body, actor }) => {
    const { olderThanSeconds } = body;
    const bound = olderThanSeconds === undefined ? undefined : { age: olderThanSeconds * 1000, bytes: 0 };
    const removed = await performAnnouncedAction(
      registry,
      {
        name: 'telemetry.prune',
        actor,
        subject: 'telemetry/*',
        details: olderThanSeconds === undefined ? {} : { olderThanSeconds },
        outcome: (gone: readonly SegmentStats[]) => [
          ...gone.map(({ name, messages, bytes }) => ({
            action: 'telemetry.pruned',
            subject: `telemetry/${name}`,
            details: { messages, bytes },
          })),
          { action: 'telemetry.prune.ended', details: { files: gone.length } },
        ],
      },
      () => telemetry.prune(bound),
    );
    return { removed: [...removed] };
  });
}

function addFollowRoute(app: FastifyInstance, { telemetry, followers }: RoutesOptions): void {
  const live = new LiveFeeds();
  addEndpoint(app, endpoints.followTelemetry, (request) =>
    followJournal(followers, request, journalOf(telemetry, request.query, live)),
  );
}

interface FollowFilter {
  readonly device?: DeviceId | undefined;
  readonly stream?: string | undefined;
}

function journalOf(telemetry: Telemetry, { device, stream }: FollowFilter, live: LiveFeeds): FollowedJournal {
  const view = (message: StoredMessage) => ({
    position: message.position,
    cursor: message.cursor,
    json: messageJson(message).trimEnd(),
  });
  const newest: FollowJournal = (listener) =>
    telemetry.follow(device, (message) => {
      if (stream === undefined || message.stream === stream) listener(view(message));
    });
  const of = { ...(device !== undefined && { device }), ...(stream !== undefined && { stream }) };
  const source: StreamSource = {
    bounds: () => telemetry.bounds(),
    pages: async function* (after) {
      for await (const page of telemetry.pages({ after, ...of })) yield page.map(view);
    },
    follow: (listener) => live.follow(JSON.stringify([device, stream]), newest, listener),
  };
  return { source, newest };
}

/** The devices that a query selects; of a group, those that are in it now. */
async function devicesOf(
  query: { readonly device?: DeviceId | undefined; readonly group?: GroupName | undefined },
  registry: Registry,
): Promise<DeviceSelection> {
  const { device, group } = query;
  if (group === undefined) return device === undefined ? {} : { device };
  if (device !== undefined) throw expected('a device or a group', 'both');
  const devices: DeviceId[] = [];
  for (let after = ''; ; ) {
    const page = await registry.listDevices({ group, after, limit: DEVICES_PER_PAGE });
    devices.push(...page.map(({ id }) => id));
    const last = page.at(-1);
    if (last === undefined || page.length < DEVICES_PER_PAGE) return { devices };
    after = last.id;
  }
}

function expected(what: string, found: string): Problem {
  return new Problem('request_invalid', { detail: `expected ${what}, found ${found}` });
}

function rangeOf(query: {
  readonly stream?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}): TelemetryRange {
  const { stream, since, until } = query;
  return {
    ...(stream !== undefined && { stream }),
    ...(since !== undefined && { since: Date.parse(since) }),
    ...(until !== undefined && { until: Date.parse(until) }),
  };
}
