/** Events of the fleet: listed, and followed. */

import type { FastifyInstance } from 'fastify';
import { eventEndpoints as endpoints } from '../api/events.ts';
import { addEndpoint } from '../application.ts';
import { acceptedForm, findStreamStart, type StreamSource, streamEvents } from '../event-stream.ts';
import { type FollowJournal, LiveFeeds } from '../live-feed.ts';
import type { RoutesOptions } from './routes.ts';

interface EventFilter {
  readonly type: string | undefined;
  readonly name: string | undefined;
}

interface StoredEvent {
  readonly position: number;
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
  /** After a position, oldest first. */
  pages(filter: EventFilter, after: number): AsyncIterable<readonly StoredEvent[]>;
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
  addEndpoint(app, endpoints.followEvents, async ({ query, admission, reply }) => {
    const filter = { type: query.type, name: query.device };
    const { headers } = reply.request;
    const form = acceptedForm(headers);
    const source = sourceOf(events, filter, live);
    const start = await findStreamStart(source, headers);
    followers.start(reply.raw, {
      admission,
      headers: reply.getHeaders() as Record<string, string>,
      form,
      subscribe: (flow) =>
        form === 'sse'
          ? streamEvents(source, start, flow)
          : events.follow(filter, ({ json }) => flow.send(`${Buffer.from(json)}\n`)),
    });
    reply.hijack();
    return undefined;
  });
}

function sourceOf(events: EventFeed, filter: EventFilter, live: LiveFeeds): StreamSource {
  const view = ({ position, type, json }: StoredEvent) => ({ position, type, json: Buffer.from(json).toString() });
  const newest: FollowJournal = (listener) => events.follow(filter, (event) => listener(view(event)));
  return {
    bounds: () => events.bounds(),
    pages: async function* (after) {
      for await (const page of events.pages(filter, after)) yield page.map(view);
    },
    follow: (listener) => live.follow(JSON.stringify(filter), newest, listener),
  };
}
