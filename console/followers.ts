/**
 * Streams to operators: newline-delimited JSON, or server-sent events. A follower that reads more slowly than
 * messages arrive is dropped instead of filling memory; its last line is a problem document that gives the reason.
 */

import type { ServerResponse } from 'node:http';
import { escapeJson } from '@rollcall/output';
import { asProblem, Problem, problemDocument } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { OperatorAccessEnded, Registry } from '../registry/index.ts';
import type { Admission } from './access.ts';

/** Unsent bytes per follower; more drop it. */
export const MAX_FOLLOWER_BACKLOG = 1_048_576;
export const MAX_FOLLOWERS = 256;
/** A follower that is sent stored messages waits while so many bytes are unsent, and is dropped after so long without any sent. */
const FULL_BACKLOG = MAX_FOLLOWER_BACKLOG / 4;
const DRAIN_PATIENCE_MS = 30_000;
const CLOSE_GRACE_MS = 10_000;
/** The longest that `setTimeout` accepts. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Streams of sessions that ended without a request, or in another process, end within this time. */
const SESSION_CHECK_MS = 60_000;

const MEDIA_TYPES = { lines: 'application/x-ndjson', sse: 'text/event-stream' } as const;

/** How a subscription writes to its follower. */
export interface FollowerFlow {
  /** Drops the follower when it reads too slowly. Bytes are sent as they are. */
  send(text: string | Buffer): void;
  /** Resolves when more stored messages may be sent, or the follower is gone. */
  drained(): Promise<void>;
  /** Ends the stream with the problem. */
  fail(error: unknown): void;
}

export interface FollowRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly form: keyof typeof MEDIA_TYPES;
  /** Of the reader: the stream ends when its key or session does. */
  readonly admission: Admission;
  /** Sends text in that form for each message. Returns a function that stops it. */
  readonly subscribe: (flow: FollowerFlow) => () => void;
}

export interface FollowersOptions {
  readonly now: () => number;
  readonly registry: Pick<Registry, 'listOperatorSessions'>;
  readonly log: Logger;
}

/** What admitted the reader: an API key, a session or a certificate. */
type Credential = Admission['apiKey'] | Admission['session'] | Admission['certificate'];

interface Follower {
  readonly credential: Credential;
  drop(problem: Problem): void;
}

export class Followers {
  readonly #now: () => number;
  readonly #sessionCheck: NodeJS.Timeout;
  readonly #live = new Set<Follower>();

  constructor(options: FollowersOptions) {
    this.#now = options.now;
    const { registry, log } = options;
    this.#sessionCheck = setInterval(() => {
      this.#endLostSessions(registry).catch((error: unknown) => log.error({ err: error }, 'sessions were not checked'));
    }, SESSION_CHECK_MS).unref();
  }

  /** Streams until the client disconnects. Problem `unavailable` when there are too many followers. */
  start(response: ServerResponse, { headers, form, admission, subscribe }: FollowRequest): void {
    if (this.#live.size >= MAX_FOLLOWERS) {
      throw new Problem('unavailable', { detail: `there are ${MAX_FOLLOWERS} followers already` });
    }
    const credential = admission.apiKey ?? admission.session ?? admission.certificate;
    const send = (text: string | Buffer) => {
      if (this.#isExpired(credential)) drop(accessEnded());
      else if (response.writableLength > MAX_FOLLOWER_BACKLOG) drop(tooSlow());
      else response.write(typeof text === 'string' ? escapeJson(text) : text);
    };
    const drained = async () => {
      if (response.writableLength > FULL_BACKLOG && !(await drainedOrClosed(response))) drop(tooSlow());
    };
    const stop = subscribe({ send, drained, fail: (error) => drop(asProblem(error)) });
    const expiry = this.#watchExpiry(credential, () => drop(accessEnded()));
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
    const follower: Follower = { credential, drop };
    this.#live.add(follower);
    response.once('close', leave);
    response.socket?.setTimeout(0); // a stream may be silent for long
    response.writeHead(200, { ...headers, 'content-type': MEDIA_TYPES[form], connection: 'close' });
    response.flushHeaders();
  }

  /** Ends the streams of an operator, of one of its keys, or of its sessions. */
  end(ended: OperatorAccessEnded): void {
    for (const { credential, drop } of [...this.#live]) {
      if (credential !== undefined && isOver(credential, ended)) drop(accessEnded());
    }
  }

  /** A stream is no use of its session. */
  async #endLostSessions(registry: FollowersOptions['registry']): Promise<void> {
    const followers = [...this.#live].filter(({ credential }) => isSession(credential));
    if (followers.length === 0) return;
    const live = new Set((await registry.listOperatorSessions()).map(({ id }) => id));
    for (const { credential, drop } of followers) {
      if (isSession(credential) && !live.has(credential.id)) drop(accessEnded());
    }
  }

  close(): void {
    clearInterval(this.#sessionCheck);
    for (const { drop } of [...this.#live]) drop(new Problem('unavailable', { detail: 'the server is closing' }));
  }

  #isExpired(credential: Credential): boolean {
    return credential !== undefined && credential.expiresAt <= this.#now();
  }

  /** A stream without messages ends too. The timer fires again until the clock has reached the end. */
  #watchExpiry(credential: Credential, end: () => void): NodeJS.Timeout | undefined {
    if (credential === undefined) return undefined;
    const wait = Math.min(Math.max(credential.expiresAt - this.#now(), 1_000), MAX_TIMER_MS);
    return setInterval(() => this.#isExpired(credential) && end(), wait).unref();
  }
}

function isOver(credential: NonNullable<Credential>, ended: OperatorAccessEnded): boolean {
  if (credential.operator !== ended.operator) return false;
  const { keyId, sessionId, sessions } = ended;
  if (sessions !== undefined) return isSession(credential) && credential.id !== sessions.except;
  if (keyId === undefined && sessionId === undefined) return true;
  return 'id' in credential && credential.id === (keyId ?? sessionId);
}

function isSession(credential: Credential): credential is NonNullable<Admission['session']> {
  return credential !== undefined && 'csrfToken' in credential;
}

function accessEnded(): Problem {
  return new Problem('operator_required', {
    detail: 'the API key, session or certificate of this stream is no longer accepted',
  });
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
