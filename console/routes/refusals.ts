/** What the server refused: grouped, counted over time, and followed. `server/diagnosis/` puts it into words. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { refusalEndpoints as endpoints } from '../api/refusals.ts';
import type { StreamSource } from '../event-stream.ts';
import { type FollowedJournal, followJournal } from '../follow-journal.ts';
import { isoTime } from '../iso-time.ts';
import { type FollowJournal, LiveFeeds } from '../live-feed.ts';
import { isSelected, REFUSAL_KINDS, type RefusalFilter } from '../refusals.ts';
import type { RoutesOptions } from './routes.ts';

const HOUR_MS = 3_600_000;
const EVERY_EVENT = { type: undefined, name: undefined } as const;

export function addRefusalRoutes(app: FastifyInstance, options: RoutesOptions): void {
  const { controls, followers, now } = options;
  const live = new LiveFeeds();
  addEndpoint(app, endpoints.listRefusals, async ({ query }) => {
    const { kind, code, device, address, limit } = query;
    const until = query.until === undefined ? now() : Date.parse(query.until);
    const since = query.since === undefined ? until - HOUR_MS : Date.parse(query.since);
    if (since >= until) throw new Problem('request_invalid', { detail: 'expected since to be before until' });
    const found = await controls.refusals.list({ since, until, kind, code, device, address, limit });
    const { groups, moreGroups, readSince, bucketMs, buckets } = found;
    const counts = REFUSAL_KINDS.map((one) => [one, buckets.map((bucket) => bucket[one])] as const);
    return {
      serverTime: isoTime(now()),
      since: isoTime(since),
      until: isoTime(until),
      readSince: isoTime(readSince),
      groups: groups.map(({ firstAt, lastAt, addresses, topics, ...group }) => {
        return {
          ...group,
          ...{ firstAt: isoTime(firstAt), lastAt: isoTime(lastAt), addresses: [...addresses], topics: [...topics] },
        };
      }),
      moreGroups,
      buckets: {
        ...{ seconds: bucketMs / 1000, at: buckets.map(({ at }) => at / 1000) },
        ...(Object.fromEntries(counts) as Record<(typeof REFUSAL_KINDS)[number], number[]>),
      },
    };
  });
  addEndpoint(app, endpoints.followRefusals, (request) =>
    followJournal(followers, request, journalOf(options, request.query, live)),
  );
}

function journalOf({ events, controls }: RoutesOptions, wanted: RefusalFilter, live: LiveFeeds): FollowedJournal {
  const view = ({ position, cursor, type, json }: Parameters<Parameters<typeof events.follow>[1]>[0]) => {
    const refusal = controls.refusals.ofEvent(type, json);
    if (refusal === undefined || !isSelected(refusal, wanted)) return [];
    const { at, ...facts } = refusal;
    return [{ position, cursor, json: JSON.stringify({ ...facts, at: isoTime(at) }) }];
  };
  const newest: FollowJournal = (listener) =>
    events.follow(EVERY_EVENT, (event) => {
      for (const message of view(event)) listener(message);
    });
  const source: StreamSource = {
    bounds: () => events.bounds(),
    pages: async function* (after) {
      for await (const page of events.pages(EVERY_EVENT, after)) yield page.flatMap(view);
    },
    follow: (listener) => live.follow(JSON.stringify(wanted), newest, listener),
  };
  return { source, newest };
}
