/** The worker that writes the journal, its restart, and the ports over which other threads send batches to it. */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Logger } from 'pino';
import {
  type AppendAnswer,
  type Appended,
  type DiskSpaceMonitor,
  dayOf,
  type JournalMessage,
  type JournalOptions,
  WorkerClient,
} from '../storage/index.ts';
import { BatchSender } from './batch-sender.ts';

export interface JournalWriterOptions {
  readonly directory: string;
  /** A segment that has grown so large is followed by another; 4 GiB when left out. */
  readonly segmentBytes: number | undefined;
  readonly now: () => number;
  readonly log: Logger;
  workerEnded(error: unknown): void;
  readonly after?: 'restore' | undefined;
}

/** More than a journal can have given to messages after a backup was made. */
const POSITIONS_LEFT_OUT = 1e12;

export class JournalWriter {
  readonly worker: WorkerClient;
  readonly #batches: BatchSender;

  constructor({ directory, segmentBytes, now, log, workerEnded, after }: JournalWriterOptions) {
    const opening: JournalOptions = {
      directory,
      ...(after === 'restore' && { leap: { positions: POSITIONS_LEFT_OUT, day: dayOf(now()) } }),
      ...(segmentBytes !== undefined && { segmentBytes }),
    };
    this.worker = new WorkerClient({
      program: new URL('../storage/journal/writer-worker.ts', import.meta.url),
      name: 'the journal',
      opening,
      endedCode: 'internal',
      ended: (error) => {
        this.#batches.forgetNames();
        workerEnded(error);
      },
    });
    this.#batches = new BatchSender((batch, transfer) => this.worker.call('append', batch, transfer), log);
  }

  /** Of the newest message that this thread appended since the start; 0 before the first. */
  get newestPosition(): number {
    return this.#batches.newestPosition;
  }

  /** Creates the directory. Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
  async open(): Promise<void> {
    this.#batches.logDamage((await this.worker.open()) as AppendAnswer);
  }

  /** Nothing is stored while the disk has less room than the floor. Rejects with Problem `unavailable` when the same may be appended later. */
  async append(messages: readonly JournalMessage[], disk: DiskSpaceMonitor): Promise<Appended> {
    disk.expectSpace();
    return this.#batches.send(messages);
  }

  /** A port over which another thread sends batches (`AppendCalls`). It closes when the worker ends. */
  senderPort(): Promise<MessagePort> {
    return this.#portFor('connectSender');
  }

  /** The port over which the worker tells what it stores (`FollowCalls`), in place of an earlier one. It closes when the worker ends. */
  followerPort(): Promise<MessagePort> {
    return this.#portFor('connectFollower');
  }

  close(): Promise<void> {
    return this.worker.close();
  }

  async #portFor(call: 'connectSender' | 'connectFollower'): Promise<MessagePort> {
    const { port1, port2 } = new MessageChannel();
    await this.worker.call(call, port1, [port1]);
    return port2;
  }
}
