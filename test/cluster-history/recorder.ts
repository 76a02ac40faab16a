/** Records a history, in memory and as JSON lines in a file, with the times of one monotonic clock. */

import { appendFileSync, writeFileSync } from 'node:fs';
import type { History, HistoryEntry, HistoryEvent } from './history.ts';

/** Entries that are written to the file at once. */
const LINES_AT_ONCE = 1_000;

export class HistoryRecorder {
  readonly #entries: HistoryEntry[] = [];
  readonly #file: string | undefined;
  readonly #began = performance.now();
  #written = 0;
  #connections = 0;

  /** Without a file it is in memory alone. */
  constructor(file?: string) {
    this.#file = file;
    if (file !== undefined) writeFileSync(file, '');
  }

  get history(): History {
    return this.#entries;
  }

  /** Milliseconds since the beginning. */
  now(): number {
    return performance.now() - this.#began;
  }

  /** Of a time of this machine's clock, ms since the epoch. */
  timeOf(clock: number): number {
    return clock - Date.now() + this.now();
  }

  record(event: HistoryEvent): void {
    this.#entries.push({ at: this.now(), ...event });
    if (this.#entries.length - this.#written >= LINES_AT_ONCE) this.flush();
  }

  /** The number of a connection that begins. */
  nextConnection(): number {
    this.#connections += 1;
    return this.#connections;
  }

  /** Entries of one type. */
  count(type: HistoryEvent['type']): number {
    return this.#entries.reduce((count, entry) => count + Number(entry.type === type), 0);
  }

  flush(): void {
    const entries = this.#entries.slice(this.#written);
    this.#written = this.#entries.length;
    if (this.#file === undefined || entries.length === 0) return;
    appendFileSync(this.#file, `${entries.map((entry) => JSON.stringify(entry)).join('\n')}\n`);
  }
}
