/**
 * Followers of a journal that several nodes write. Messages of this node come from memory, after their commit; those of others are read
 * from the journal, when the node is woken and every quarter of a second. Reading is never on the path of a message.
 */

import type { Logger } from 'pino';
import type { Wakes } from '../../storage/index.ts';
import { Cursor } from '../cursor.ts';
import { Followers } from '../followers.ts';
import { LANE_POSITIONS, positionOf } from '../position.ts';
import type { StoredMessage, Telemetry, TelemetryMessage } from '../telemetry.ts';

export const POLL_EVERY_MS = 250;

export interface LaneFollowersOptions<Source extends string> {
  readonly journal: Pick<Telemetry<Source>, 'pages'> & {
    /** Of a reader that has everything. */
    end(): Promise<Cursor>;
  };
  /** Of this node. */
  readonly lane: number;
  readonly pollEvery: number;
  /** Between nodes; without it others are only noticed by polling. */
  readonly wakes?: { readonly wakes: Wakes; readonly channel: string } | undefined;
  readonly log: Logger;
}

export class LaneFollowers<Source extends string> {
  readonly #options: LaneFollowersOptions<Source>;
  readonly #followers: Followers<Source>;
  #at: Cursor = Cursor.BEGIN;
  /** Other nodes have lanes too, so that a position alone does not say how far a reader is. */
  #hasOthers = false;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #isWoken = false;
  #stopListening: () => void = () => {};
  #hasFailed = false;

  constructor(options: LaneFollowersOptions<Source>) {
    this.#options = options;
    this.#followers = new Followers<Source>(options.log);
  }

  async open(): Promise<void> {
    this.#at = await this.#options.journal.end();
    this.#hasOthers = this.#hasOfOthers(this.#at);
    this.#timer = setInterval(() => this.#readSoon(), this.#options.pollEvery).unref();
    const { wakes } = this.#options;
    if (wakes !== undefined) this.#stopListening = wakes.wakes.onWake(wakes.channel, () => this.wake());
  }

  add(device: Source | undefined, listener: (message: StoredMessage<Source>) => void): () => void {
    return this.#followers.add(device, listener);
  }

  /** Returns a function that removes the listener. */
  onStored(listener: () => void): () => void {
    return this.#followers.onStored(listener);
  }

  /** Of this node. `first`: the number in its lane. */
  stored(messages: readonly TelemetryMessage<Source>[], first: number, repeated: readonly number[]): void {
    const begin = this.#options.lane * LANE_POSITIONS + first;
    if (this.#hasOthers) this.#notifyWithCursors(messages, begin, repeated);
    else this.#followers.notify(messages, begin, repeated);
    this.#at = this.#at.and(Cursor.of([begin + messages.length - repeated.length - 1]));
    this.#followers.stored();
    const { wakes } = this.#options;
    wakes?.wakes.wake(wakes.channel);
  }

  /** Another node stored something. Without a listener the next poll notices it. */
  wake(): void {
    if (this.#followers.isEmpty && !this.#followers.hasStoredListeners) return;
    this.#isWoken = this.#reading !== undefined;
    this.#readSoon();
  }

  #readSoon(): void {
    this.#reading ??= this.#read()
      .then(() => {
        this.#hasFailed = false;
      })
      .catch((error: unknown) => {
        if (!this.#hasFailed) this.#options.log.warn({ err: error }, 'messages of other nodes could not be read');
        this.#hasFailed = true;
      })
      .finally(() => {
        this.#reading = undefined;
        if (!this.#isWoken) return;
        this.#isWoken = false;
        this.#readSoon();
      });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopListening();
    this.#isWoken = false;
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { journal } = this.#options;
    const end = await journal.end();
    this.#hasOthers ||= this.#hasOfOthers(end);
    if (this.#everyOwn(this.#at).includes(end)) return;
    if (this.#followers.isEmpty) {
      this.#at = this.#at.and(end);
      this.#followers.stored();
      return;
    }
    for await (const page of journal.pages({ after: this.#everyOwn(this.#at) })) {
      const read = page.map((message) => {
        this.#at = this.#at.after(message.position);
        return { ...message, cursor: this.#at };
      });
      this.#followers.notifyStored(read);
    }
    this.#followers.stored();
  }

  #notifyWithCursors(messages: readonly TelemetryMessage<Source>[], begin: number, repeated: readonly number[]): void {
    let at = this.#at;
    this.#followers.notify(messages, begin, repeated, (position) => {
      at = at.after(positionOf(position));
      return at;
    });
  }

  /** Whether something is of another lane. */
  #hasOfOthers(end: Cursor): boolean {
    return !this.#everyOwn(Cursor.BEGIN).includes(end);
  }

  /** A reader that has all that this node will ever store. */
  #everyOwn(at: Cursor): Cursor {
    return at.and(Cursor.of([(this.#options.lane + 1) * LANE_POSITIONS - 1]));
  }
}
