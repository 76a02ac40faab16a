/** The journal in a data directory, for a copy to another store or from one. No server writes it. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  dayOf,
  Journal,
  type JournalMessage,
  JournalReader,
  packBatch,
  ReceivedNames,
  SentNames,
} from '../../storage/index.ts';
import { positionNumber } from '../position.ts';
import { RESERVED_FILE, ReservedMessages } from '../reserve/reserved-messages.ts';
import { PAGE_BYTES, PAGE_MESSAGES } from '../telemetry-reader.ts';
import { type CopiedMessage, copiedMessage } from './copied-message.ts';

const ALL = { devices: undefined, stream: undefined, since: 0, until: Number.MAX_SAFE_INTEGER, selection: -1 };
const EVERYTHING = { classes: { names: [], of: () => undefined }, bytesPerClass: Number.POSITIVE_INFINITY, age: 0 };

export class FileJournalSource {
  readonly #reader: JournalReader;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#reader = new JournalReader(directory);
  }

  /** Files that cannot be read. They are not copied. */
  get damaged(): readonly string[] {
    return existsSync(this.#directory) ? this.#reader.stats().damaged : [];
  }

  /** In segments and in the reserve, as far as is known without reading them. */
  get messages(): number {
    return existsSync(this.#directory) ? this.#reader.stats().messages : 0;
  }

  /** The position of the newest message; 0 without one. */
  get newest(): number {
    return existsSync(this.#directory) ? this.#reader.bounds().newest : 0;
  }

  /** Where the segments begin whose keys a repeated message may have. */
  get keysFrom(): number {
    const { segments } = this.#reader.stats();
    return (segments.at(-2) ?? segments.at(-1))?.firstPosition ?? 1;
  }

  /** After a position, oldest first: those in the reserve, then those in segments. */
  async *pages(after = 0): AsyncGenerator<readonly CopiedMessage[]> {
    if (!existsSync(this.#directory)) return;
    const { oldest } = this.#reader.bounds();
    yield* this.#reserved(after, oldest - 1);
    for (let at = Math.max(after, oldest - 1); ; ) {
      const rows = this.#reader.page(ALL, at, PAGE_MESSAGES, PAGE_BYTES);
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(copiedMessage);
      at = last.position;
    }
  }

  close(): void {
    this.#reader.close();
  }

  *#reserved(after: number, upTo: number): Generator<readonly CopiedMessage[]> {
    const file = join(this.#directory, RESERVED_FILE);
    if (!existsSync(file) || after >= upTo) return;
    const reserved = new ReservedMessages(file, EVERYTHING);
    try {
      for (const page of reserved.pages({}, after, upTo)) {
        yield page.map((message) => ({ ...message, position: positionNumber(message.position) }) as CopiedMessage);
      }
    } finally {
      reserved.close();
    }
  }
}

/** Writes a journal into a directory in which there is none. */
export class FileJournalTarget {
  readonly #journal: Journal;
  readonly #sent = new SentNames();
  readonly #received = new ReceivedNames();
  #waiting: JournalMessage[] = [];
  #bytes = 0;
  #next = 1;
  #day = '';

  constructor(directory: string) {
    this.#journal = new Journal({ directory, repeats: 'stored' });
  }

  /** The position that the next message gets. */
  get next(): number {
    return this.#next;
  }

  /** Positions before this one are given to no message. */
  leaveOutUpTo(next: number, time: number): void {
    if (next === this.#next) return;
    this.#flush();
    this.#day = dayOf(time);
    this.#journal.leaveOut(next - this.#next, this.#day);
    this.#next = next;
  }

  /** Returns the position of the message. */
  add(message: JournalMessage): number {
    const day = dayOf(message.receivedAt);
    const isFull = this.#waiting.length >= PAGE_MESSAGES || this.#bytes >= PAGE_BYTES;
    if (isFull || (day > this.#day && this.#waiting.length > 0)) this.#flush();
    if (day > this.#day) this.#day = day;
    this.#waiting.push(message);
    this.#bytes += message.payload.byteLength;
    this.#next += 1;
    return this.#next - 1;
  }

  close(): void {
    try {
      this.#flush();
    } finally {
      this.#journal.close();
    }
  }

  #flush(): void {
    if (this.#waiting.length === 0) return;
    const batch = packBatch(this.#waiting, this.#sent);
    this.#received.add(batch.names);
    this.#journal.append([{ batch, names: this.#received }]);
    this.#waiting = [];
    this.#bytes = 0;
  }
}
