/**
 * Appends batches to the journal through its writing worker. Nothing is stored while the disk has less room than the floor. After a
 * failure all source names are sent to the worker again, because its state is unknown.
 */

import type { Logger } from 'pino';
import {
  type Appended,
  batchTransferList,
  type DiskSpaceMonitor,
  dayOf,
  type JournalMessage,
  type JournalOptions,
  packBatch,
  SentNames,
  WorkerClient,
} from '../storage/index.ts';

export interface JournalWriterOptions {
  readonly directory: string;
  /** A segment that has grown so large is followed by another; 4 GiB when left out. */
  readonly segmentBytes: number | undefined;
  readonly now: () => number;
  readonly log: Logger;
  workerEnded(error: unknown): void;
  readonly after?: 'restore' | undefined;
}

/** Files that the worker found damaged. */
interface SetAside {
  readonly setAside: readonly string[];
}

/** More than a journal can have given to messages after a backup was made. */
const POSITIONS_LEFT_OUT = 1e12;

export class JournalWriter {
  readonly worker: WorkerClient;
  readonly #log: Logger;
  readonly #names = new SentNames();
  #newestPosition = 0;

  constructor({ directory, segmentBytes, now, log, workerEnded, after }: JournalWriterOptions) {
    const opening: JournalOptions = {
      directory,
      ...(after === 'restore' && { leap: { positions: POSITIONS_LEFT_OUT, day: dayOf(now()) } }),
      ...(segmentBytes !== undefined && { segmentBytes }),
    };
    this.#log = log;
    this.worker = new WorkerClient({
      program: new URL('../storage/journal/writer-worker.ts', import.meta.url),
      name: 'the journal',
      opening,
      endedCode: 'internal',
      ended: (error) => {
        this.#names.clear();
        workerEnded(error);
      },
    });
  }

  /** Of the newest message that was appended since the start; 0 before the first. */
  get newestPosition(): number {
    return this.#newestPosition;
  }

  /** Creates the directory. Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
  async open(): Promise<void> {
    this.#logDamage((await this.worker.open()) as SetAside);
  }

  /** All of them or none. Rejects with Problem `unavailable` when the same may be appended later. */
  async append(messages: readonly JournalMessage[], disk: DiskSpaceMonitor): Promise<Appended> {
    disk.expectSpace();
    const batch = packBatch(messages, this.#names);
    let appended: Appended & SetAside;
    try {
      appended = await this.worker.call<Appended & SetAside>('append', batch, batchTransferList(batch));
    } catch (error) {
      this.#names.clear();
      throw error;
    }
    this.#logDamage(appended);
    const stored = messages.length - appended.repeated.length;
    if (stored > 0) this.#newestPosition = appended.first + stored - 1;
    return appended;
  }

  close(): Promise<void> {
    return this.worker.close();
  }

  #logDamage({ setAside }: SetAside): void {
    for (const file of setAside) this.#log.error({ file }, 'a damaged telemetry segment was set aside');
  }
}
