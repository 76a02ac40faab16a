/**
 * The newest messages of a journal for any number of streams of server-sent events: each message is written as text once, and the
 * messages of a fifth of a second are sent together. A write to each of 200 connections for each message costs a hundred times as much.
 */

import { escapeJson } from '@rollcall/output';
import { Cursor, type Position, type Span } from '../telemetry/index.ts';

export interface StreamedMessage {
  readonly position: Position;
  /** How far a reader is that got this message; its position when left out. */
  readonly cursor?: Cursor | undefined;
  /** The name of the event; `message` when left out. */
  readonly type?: string;
  /** On one line. */
  readonly json: string;
}

/** Messages in the order of the journal, one at least. */
export interface LiveBatch {
  readonly messages: readonly StreamedMessage[];
  /** All of them as server-sent events, without a character that a terminal interprets. */
  readonly bytes: Buffer;
  readonly span: Span;
}

/** Calls the listener after each commit, in the order of the journal. Returns a function that removes the listener. */
export type FollowJournal = (listener: (message: StreamedMessage) => void) => () => void;

const GATHER_MS = 200;
/** Characters of messages that are sent before the time is over. */
const MAX_GATHERED = 65_536;

export function sseText({ position, cursor, type, json }: StreamedMessage): string {
  // JSON has no line feed of its own, so one data line holds it.
  return `id: ${cursor ?? position}\n${type === undefined ? '' : `event: ${type}\n`}data: ${json}\n\n`;
}

export function liveBatch(messages: readonly StreamedMessage[]): LiveBatch {
  return { messages, bytes: Buffer.from(escapeJson(messages.map(sseText).join(''))), span: Cursor.spanOf(messages) };
}

/** Feeds by a text that names their filter. A feed follows its journal while it has a reader. */
export class LiveFeeds {
  readonly #feeds = new Map<string, LiveFeed>();

  /** Returns a function that removes the listener. */
  follow(filter: string, journal: FollowJournal, listener: (batch: LiveBatch) => void): () => void {
    const feed = this.#feeds.get(filter) ?? new LiveFeed(journal);
    this.#feeds.set(filter, feed);
    const leave = feed.add(listener);
    return () => {
      leave();
      if (feed.readers === 0 && this.#feeds.get(filter) === feed) this.#feeds.delete(filter);
    };
  }
}

class LiveFeed {
  readonly #journal: FollowJournal;
  readonly #listeners = new Set<(batch: LiveBatch) => void>();
  #unfollow: (() => void) | undefined;
  #gathered: StreamedMessage[] = [];
  #length = 0;
  /** Runs from each batch until messages may be sent again. */
  #pause: NodeJS.Timeout | undefined;
  #isDue = false;

  constructor(journal: FollowJournal) {
    this.#journal = journal;
  }

  get readers(): number {
    return this.#listeners.size;
  }

  add(listener: (batch: LiveBatch) => void): () => void {
    const own = (batch: LiveBatch) => listener(batch); // so that one function can be added twice
    this.#listeners.add(own);
    this.#unfollow ??= this.#journal((message) => this.#gather(message));
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      this.#unfollow?.();
      this.#unfollow = undefined;
      clearTimeout(this.#pause);
      this.#pause = undefined;
      this.#gathered = [];
    };
  }

  #gather(message: StreamedMessage): void {
    this.#gathered.push(message);
    this.#length += message.json.length;
    if (this.#length >= MAX_GATHERED) this.#send();
    else if (this.#pause === undefined && !this.#isDue) {
      this.#isDue = true;
      queueMicrotask(() => this.#send()); // with the others of its commit
    }
  }

  #send(): void {
    this.#isDue = false;
    if (this.#gathered.length === 0) return;
    const batch = liveBatch(this.#gathered);
    this.#gathered = [];
    this.#length = 0;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#send();
    }, GATHER_MS).unref();
    for (const listener of [...this.#listeners]) listener(batch);
  }
}
