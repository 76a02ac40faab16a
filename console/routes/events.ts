/** Events of the fleet: listed, and followed. */

import type { FastifyInstance } from 'fastify';
import type { Cursor, Position } from '../../telemetry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { eventEndpoints as endpoints } from '../api/events.ts';
import type { StreamSource } from '../event-stream.ts';
import { type FollowedJournal, followJournal } from '../follow-journal.ts';
import { type FollowJournal, LiveFeeds } from '../live-feed.ts';
import type { RoutesOptions } from './routes.ts';

interface EventFilter {
  readonly type: string | undefined;
  readonly name: string | undefined;
}

interface StoredEvent {
  readonly position: Position;
  readonly cursor?: Cursor | undefined;
  readonly type: string;
  readonly json: Uint8Array;
}

/** The events that operators see. */
export interface EventFeed {
  list(range: {
    readonly type: string | undefined;
    readonly name: string | undefined;
    readonly since: number | undefined;
    readonly until: number | undefined;
    readonly limit: number;
  }): Promise<readonly { readonly json: Uint8Array }[]>;
  /** Returns the way to stop. */
  follow(filter: EventFilter, listener: (event: StoredEvent) => void): () => void;
  bounds: StreamSource['bounds'];
  /** What a reader that is there does not have, oldest first. */
  pages(filter: EventFilter, after: Cursor): AsyncIterable<readonly StoredEvent[]>;
}

const DAY_MS = 86_400_000;

export function addEventRoutes(app: FastifyInstance, { events, followers, now }: RoutesOptions): void {
  const live = new LiveFeeds();
  addEndpoint(app, endpoints.listEvents, async ({ query }) => {
    const { type, device: name, since, until, limit } = query;
    const found = await events.list({
      type,
      name,
      since: since === undefined ? now() - DAY_MS : Date.parse(since),
      until: until === undefined ? undefined : Date.parse(until),
      limit,
    });
    return found.map(({ json }) => JSON.parse(Buffer.from(json).toString()));
  });
  addEndpoint(app, endpoints.followEvents, (request) => {
    const { type, device: name } = request.query;
    return followJournal(followers, request, journalOf(events, { type, name }, live));
  });
}

function journalOf(events: EventFeed, filter: EventFilter, live: LiveFeeds): FollowedJournal {
  const view = ({ json, ...about }: StoredEvent) => ({ ...about, json: Buffer.from(json).toString() });
  const newest: FollowJournal = (listener) => events.follow(filter, (event) => listener(view(event)));
  const source: StreamSource = {
    bounds: () => events.bounds(),
    pages: async function* (after) {
      for await (const page of events.pages(filter, after)) yield page.map(view);
    },
    follow: (listener) => live.follow(JSON.stringify(filter), newest, listener),
  };
  return { source, newest };
}
