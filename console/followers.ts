/**
 * Streams to operators: newline-delimited JSON, or server-sent events. A follower that reads more slowly than
 * messages arrive is dropped instead of filling memory; its last line is a problem document that gives the reason.
 */

import type { ServerResponse } from 'node:http';
import { escapeJson } from '@rollcall/output';
import { asProblem, Problem, problemDocument } from '@rollcall/protocol';
import type { OperatorAccessEnded } from '../registry/index.ts';
import type { Admission } from './access.ts';

/** Unsent bytes per follower; more drop it. */
export const MAX_FOLLOWER_BACKLOG = 1_048_576;
export const MAX_FOLLOWERS = 64;
/** A follower that is sent stored messages waits while so many bytes are unsent, and is dropped after so long without any sent. */
const FULL_BACKLOG = MAX_FOLLOWER_BACKLOG / 4;
const DRAIN_PATIENCE_MS = 30_000;
const CLOSE_GRACE_MS = 10_000;
/** The longest that `setTimeout` accepts. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const MEDIA_TYPES = { lines: 'application/x-ndjson', sse: 'text/event-stream' } as const;

/** How a subscription writes to its follower. */
export interface FollowerFlow {
  /** Drops the follower when it reads too slowly. */
  send(text: string): void;
  /** Resolves when more stored messages may be sent, or the follower is gone. */
  drained(): Promise<void>;
  /** Ends the stream with the problem. */
  fail(error: unknown): void;
}

export interface FollowRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly form: keyof typeof MEDIA_TYPES;
  /** Of the reader: the stream ends when its key does. */
  readonly admission: Admission;
  /** Sends text in that form for each message. Returns a function that stops it. */
  readonly subscribe: (flow: FollowerFlow) => () => void;
}

export interface FollowersOptions {
  readonly now: () => number;
}

interface Follower {
  readonly apiKey: Admission['apiKey'];
  drop(problem: Problem): void;
}

export class Followers {
  readonly #now: () => number;
  readonly #live = new Set<Follower>();

  constructor(options: FollowersOptions) {
    this.#now = options.now;
  }

  /** Streams until the client disconnects. Problem `unavailable` when there are too many followers. */
  start(response: ServerResponse, { headers, form, admission, subscribe }: FollowRequest): void {
    if (this.#live.size >= MAX_FOLLOWERS) {
      throw new Problem('unavailable', { detail: `there are ${MAX_FOLLOWERS} followers already` });
    }
    const { apiKey } = admission;
    const send = (text: string) => {
      if (this.#isExpired(apiKey)) drop(keyEnded());
      else if (response.writableLength > MAX_FOLLOWER_BACKLOG) drop(tooSlow());
      else response.write(escapeJson(text));
    };
    const drained = async () => {
      if (response.writableLength > FULL_BACKLOG && !(await drainedOrClosed(response))) drop(tooSlow());
    };
    const stop = subscribe({ send, drained, fail: (error) => drop(asProblem(error)) });
    const expiry = this.#watchExpiry(apiKey, () => drop(keyEnded()));
    const leave = () => {
      stop();
      clearInterval(expiry);
      this.#live.delete(follower);
    };
    const drop = (problem: Problem) => {
      if (!this.#live.has(follower)) return;
      leave();
      const last = JSON.stringify(problemDocument(problem, this.#now()));
      response.end(form === 'sse' ? `event: problem\ndata: ${last}\n\n` : `${last}\n`);
      const grace = setTimeout(() => response.destroy(), CLOSE_GRACE_MS).unref();
      response.once('close', () => clearTimeout(grace));
    };
    const follower: Follower = { apiKey, drop };
    this.#live.add(follower);
    response.once('close', leave);
    response.socket?.setTimeout(0); // a stream may be silent for long
    response.writeHead(200, { ...headers, 'content-type': MEDIA_TYPES[form], connection: 'close' });
    response.flushHeaders();
  }

  /** Ends the streams of an operator, or of one of its keys. */
  end({ operator, keyId }: OperatorAccessEnded): void {
    for (const { apiKey, drop } of [...this.#live]) {
      if (apiKey?.operator === operator && (keyId === undefined || apiKey.id === keyId)) drop(keyEnded());
    }
  }

  close(): void {
    for (const { drop } of [...this.#live]) drop(new Problem('unavailable', { detail: 'the server is closing' }));
  }

  #isExpired(apiKey: Admission['apiKey']): boolean {
    return apiKey !== undefined && apiKey.expiresAt <= this.#now();
  }

  /** A stream without messages ends too. The timer fires again until the clock has reached the end. */
  #watchExpiry(apiKey: Admission['apiKey'], end: () => void): NodeJS.Timeout | undefined {
    if (apiKey === undefined) return undefined;
    const wait = Math.min(Math.max(apiKey.expiresAt - this.#now(), 1_000), MAX_TIMER_MS);
    return setInterval(() => this.#isExpired(apiKey) && end(), wait).unref();
  }
}

function keyEnded(): Problem {
  return new Problem('operator_required', { detail: 'the API key of this stream is no longer accepted' });
}

function tooSlow(): Problem {
  return new Problem('unavailable', { detail: 'this follower reads too slowly and was dropped' });
}

/** False when neither happened in time. */
async function drainedOrClosed(response: ServerResponse): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const [done, late] = [() => resolve(true), () => resolve(false)];
  const patience = setTimeout(late, DRAIN_PATIENCE_MS).unref();
  response.once('drain', done).once('close', done);
  try {
    return await promise;
  } finally {
    clearTimeout(patience);
    response.off('drain', done).off('close', done);
  }
}
