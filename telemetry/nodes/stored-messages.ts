/**
 * What the thread that writes the journal tells the keeper: stored messages of followed devices, in the order of positions, whichever node
 * received them. Each is told once. When that thread ended, the next one is told what is followed before it stores anything.
 */

import type { MessagePort } from 'node:worker_threads';
import type { Logger } from 'pino';
import {
  Channel,
  type FollowCalls,
  type FollowedDevices,
  type StoredMessageCalls,
  unpackRows,
} from '../../storage/index.ts';
import type { StoredMessage } from '../telemetry.ts';

export interface StoredMessagesOptions<Source extends string> {
  readonly log: Logger;
  port(): Promise<MessagePort>;
  followed(): FollowedDevices;
  stored(messages: readonly StoredMessage<Source>[]): void;
}

type Journal = Channel<FollowCalls, StoredMessageCalls>;

export class StoredMessages<Source extends string> {
  readonly #options: StoredMessagesOptions<Source>;
  #journal: Journal | undefined;
  #connecting: Promise<void> | undefined;
  /** Resolves when what is followed applies to everything that is not stored yet. */
  #applied: Promise<unknown> = Promise.resolve();
  #told = '';

  constructor(options: StoredMessagesOptions<Source>) {
    this.#options = options;
  }

  /** Resolves when the thread that writes now is connected; starts it when there is none. */
  connect(): Promise<void> {
    if (this.#journal?.hasEnded === false) return Promise.resolve();
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  /** What is followed may have changed. */
  followChanged(): void {
    const followed = this.#options.followed();
    const text = JSON.stringify(followed);
    if (text === this.#told || this.#journal === undefined) return;
    this.#told = text;
    this.#applied = this.#journal.call('follow', followed).catch(() => {}); // it ended: the next one is told
  }

  /** A reader that begins after this gets from the followers everything that it does not read. */
  async applied(): Promise<void> {
    await this.#applied;
  }

  close(): void {
    this.#journal?.close();
  }

  async #connect(): Promise<void> {
    const { log, port, stored } = this.#options;
    const journal: Journal = new Channel(await port(), {
      name: 'the journal',
      failed: (error, name) => log.error({ err: error, call: name }, 'stored messages were not forwarded'),
    });
    journal.handle('stored', (rows): undefined => {
      // Positions of lane 0 are numbers of the journal.
      stored(unpackRows<Source>(rows) as unknown as readonly StoredMessage<Source>[]);
    });
    this.#journal = journal;
    this.#told = '';
    this.followChanged();
    await this.#applied;
  }
}
