/**
 * What operators watch as it happens: newline-delimited JSON, or server-sent events. A follower that reads slower than there
 * is something to tell is dropped instead of filling memory; the last it gets is a problem document that says so.
 */

import type { ServerResponse } from 'node:http';
import { escapeJson } from '@rollcall/output';
import { Problem, problemDocument } from '@rollcall/protocol';
/** What may wait for one follower, in bytes; what finds more waiting is the one that drops it. */
export const MAX_FOLLOWER_BACKLOG = 1_048_576;
export const MAX_FOLLOWERS = 64;
const CLOSE_GRACE_MS = 10_000;

const MEDIA_TYPES = { lines: 'application/x-ndjson', sse: 'text/event-stream' } as const;

export interface FollowRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly form: keyof typeof MEDIA_TYPES;
  /** Calls `tell` with text in that form for each thing that happens. Returns the way to stop. */
  readonly subscribe: (tell: (text: string) => void) => () => void;
}

export interface FollowersOptions {
  readonly now: () => number;
}

export class Followers {
  readonly #now: () => number;
  readonly #live = new Set<(reason: string) => void>();

  constructor(options: FollowersOptions) {
    this.#now = options.now;
  }

  /** Answers until the client leaves. Problem `unavailable` when there are too many followers. */
  start(response: ServerResponse, { headers, form, subscribe }: FollowRequest): void {
    if (this.#live.size >= MAX_FOLLOWERS) {
      throw new Problem('unavailable', { detail: `there are ${MAX_FOLLOWERS} followers already` });
    }
    const stop = subscribe((text) => {
      if (response.writableLength > MAX_FOLLOWER_BACKLOG) drop('this follower reads too slowly and was dropped');
      else response.write(escapeJson(text));
    });
    const leave = () => {
      stop();
      this.#live.delete(drop);
    };
    const drop = (reason: string) => {
      leave();
      const last = JSON.stringify(problemDocument(new Problem('unavailable', { detail: reason }), this.#now()));
      response.end(form === 'sse' ? `event: problem\ndata: ${last}\n\n` : `${last}\n`);
      const grace = setTimeout(() => response.destroy(), CLOSE_GRACE_MS).unref();
      response.once('close', () => clearTimeout(grace));
    };
    this.#live.add(drop);
    response.once('close', leave);
    response.socket?.setTimeout(0); // a quiet fleet is no reason to hang up
    response.writeHead(200, { ...headers, 'content-type': MEDIA_TYPES[form], connection: 'close' });
    response.flushHeaders();
  }

  close(): void {
    for (const drop of [...this.#live]) drop('the server is closing');
  }
}
