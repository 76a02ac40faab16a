/**
 * Streams to operators: newline-delimited JSON, or server-sent events. A follower that reads more slowly than
 * messages arrive is dropped instead of filling memory; its last line is a problem document that gives the reason.
 */

import type { ServerResponse } from 'node:http';
import { escapeJson } from '@rollcall/output';
import { Problem, problemDocument } from '@rollcall/protocol';
/** Unsent bytes per follower; more drop it. */
export const MAX_FOLLOWER_BACKLOG = 1_048_576;
export const MAX_FOLLOWERS = 64;
const CLOSE_GRACE_MS = 10_000;

const MEDIA_TYPES = { lines: 'application/x-ndjson', sse: 'text/event-stream' } as const;

export interface FollowRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly form: keyof typeof MEDIA_TYPES;
  /** Calls `send` with text in that form for each message. Returns a function that stops it. */
  readonly subscribe: (send: (text: string) => void) => () => void;
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

  /** Streams until the client disconnects. Problem `unavailable` when there are too many followers. */
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
    response.socket?.setTimeout(0); // a stream may be silent for long
    response.writeHead(200, { ...headers, 'content-type': MEDIA_TYPES[form], connection: 'close' });
    response.flushHeaders();
  }

  close(): void {
    for (const drop of [...this.#live]) drop('the server is closing');
  }
}
