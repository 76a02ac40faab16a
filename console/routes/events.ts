/** Events of the fleet: listed, and followed. */

import type { FastifyInstance } from 'fastify';
import { eventEndpoints as endpoints } from '../api/events.ts';
import { addEndpoint } from '../application.ts';
import type { RoutesOptions } from './routes.ts';

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
  follow(
    filter: { readonly type: string | undefined; readonly name: string | undefined },
    listener: (event: { readonly position: number; readonly type: string; readonly json: Uint8Array }) => void,
  ): () => void;
}

const DAY_MS = 86_400_000;

export function addEventRoutes(app: FastifyInstance, { events, followers, now }: RoutesOptions): void {
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
    const { type, device: name } = query;
    const asSse = /\btext\/event-stream\b/.test(reply.request.headers.accept ?? '');
    followers.start(reply.raw, {
      admission,
      headers: reply.getHeaders() as Record<string, string>,
      form: asSse ? 'sse' : 'lines',
      subscribe: (send) =>
        events.follow({ type, name }, (event) => {
          const json = Buffer.from(event.json).toString();
          // HTML, "Server-sent events": JSON has no line feed of its own, so one data line holds it.
          send(asSse ? `id: ${event.position}\nevent: ${event.type}\ndata: ${json}\n\n` : `${json}\n`);
        }),
    });
    reply.hijack();
    return undefined;
  });
}
