/**
 * A journal with a reserve: before segments are removed, the messages of reserved classes in them are copied into the reserve, and
 * readers get both in the order of positions. A directory of a version without a reserve is read completely once. For embedded
 * journals, which have one lane.
 */

import { join } from 'node:path';
import type { Logger } from 'pino';
import { Cursor } from '../cursor.ts';
import { openTelemetry, type TelemetryOptions } from '../open.ts';
import { positionNumber } from '../position.ts';
import type { Retention, StoredMessage, Telemetry, TelemetryRange } from '../telemetry.ts';
import { RESERVED_FILE, type ReservedClasses, ReservedMessages } from './reserved-messages.ts';

export interface JournalWithReserveOptions extends TelemetryOptions {
  readonly retention: Retention;
  /** `part`: of the bytes that are retained, for each class; all other messages share the rest. */
  readonly reserved: ReservedClasses & { readonly part: number };
}

/** Messages that wait for a transaction of the reserve. */
const MAX_WAITING = 500;

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openJournalWithReserve(options: JournalWithReserveOptions): Promise<Telemetry<string>> {
  const { directory, now, log, retention, reserved: classes } = options;
  if (retention.bytes === 0) return openTelemetry<string>(options); // nothing is evicted by bytes
  const opened = Promise.withResolvers<Copier>();
  opened.promise.catch(() => {});
  const journal = await openTelemetry<string>({
    ...options,
    retention: { ...retention, bytes: retention.bytes * (1 - classes.part * classes.names.length) },
    beforePruning: async () => (await opened.promise).catchUp(),
  });
  let reserved: ReservedMessages;
  try {
    const bytesPerClass = retention.bytes * classes.part;
    reserved = new ReservedMessages(join(directory, RESERVED_FILE), { classes, bytesPerClass, age: retention.age });
  } catch (error) {
    opened.reject(error);
    await journal.close();
    throw error;
  }
  const copier = new Copier({ journal, reserved, classes, now, log });
  opened.resolve(copier);
  let closing: Promise<void> | undefined;
  return {
    ...journal,
    pages: (range) => mergedPages(range, journal, reserved, copier),
    close: () => {
      closing ??= (async () => {
        await journal.close();
        copier.close();
        reserved.close();
      })();
      return closing;
    },
  };
}

interface CopierOptions {
  readonly journal: Telemetry<string>;
  readonly reserved: ReservedMessages;
  readonly classes: ReservedClasses;
  readonly now: () => number;
  readonly log: Logger;
}

/** Copies messages into the reserve as they are stored, and those of an earlier run once. */
class Copier {
  readonly #journal: Telemetry<string>;
  readonly #reserved: ReservedMessages;
  readonly #classes: ReservedClasses;
  readonly #now: () => number;
  readonly #log: Logger;
  readonly #stop: () => void;
  #waiting: StoredMessage<string>[] = [];
  #seen: number;
  #earlier: Promise<void> | undefined;
  #hasEarlier = true;

  constructor({ journal, reserved, classes, now, log }: CopierOptions) {
    this.#journal = journal;
    this.#reserved = reserved;
    this.#classes = classes;
    this.#now = now;
    this.#log = log;
    this.#seen = reserved.readThrough;
    this.#stop = journal.follow(undefined, (message) => this.#stored(message));
  }

  /** Position of the newest message that was stored since the start, or read before it. */
  get seen(): number {
    return this.#seen;
  }

  /** Resolves when the reserve holds all messages of its classes that the journal holds. */
  async catchUp(): Promise<void> {
    if (this.#hasEarlier) {
      this.#earlier ??= this.#copyEarlier().finally(() => {
        this.#earlier = undefined;
      });
      await this.#earlier;
    }
    this.#flush();
  }

  /** After a failure the next start copies what is missing. */
  close(): void {
    this.#stop();
    if (this.#hasEarlier) return;
    try {
      this.#flush();
    } catch (error) {
      this.#log.error({ err: error }, 'messages were not copied into their reserve');
    }
  }

  #stored(message: StoredMessage<string>): void {
    this.#seen = positionNumber(message.position);
    if (this.#classes.of(message.stream) === undefined) return;
    this.#waiting.push(message);
    if (this.#hasEarlier || this.#waiting.length < MAX_WAITING) return;
    try {
      this.#flush();
    } catch (error) {
      this.#log.error({ err: error }, 'messages were not copied into their reserve');
    }
  }

  async #copyEarlier(): Promise<void> {
    for await (const page of this.#journal.pages({ after: Cursor.of([this.#reserved.readThrough]) })) {
      const last = page.at(-1) as StoredMessage<string>;
      const wanted = page.filter(({ stream }) => this.#classes.of(stream) !== undefined);
      this.#reserved.add(wanted, positionNumber(last.position), this.#now());
    }
    this.#hasEarlier = false;
    this.#seen = Math.max(this.#seen, this.#reserved.readThrough);
  }

  #flush(): void {
    this.#reserved.add(this.#waiting, this.#seen, this.#now());
    this.#waiting = [];
  }
}

async function* mergedPages(
  range: TelemetryRange<string>,
  journal: Telemetry<string>,
  reserved: ReservedMessages,
  copier: Copier,
): AsyncGenerator<readonly StoredMessage<string>[]> {
  let after = range.after?.readOf(0) ?? 0;
  const pages = journal.pages(range)[Symbol.asyncIterator]();
  try {
    for (;;) {
      // Messages after this position may be stored after the journal was read to its end.
      const { seen } = copier;
      const { done, value: page } = await pages.next();
      const first = done === true ? undefined : numberOf(page[0]);
      for (const older of reserved.pages(range, after, first === undefined ? seen : first - 1)) {
        yield older;
        after = numberOf(older.at(-1));
      }
      if (first === undefined) return;
      yield page;
      after = numberOf(page.at(-1));
    }
  } finally {
    await pages.return?.();
  }
}

/** A page has one message at least. */
function numberOf(message: StoredMessage<string> | undefined): number {
  return positionNumber((message as StoredMessage<string>).position);
}
