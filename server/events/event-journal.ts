/**
 * The journal of events with a reserve: before segments are removed, the events of operators, certificates and security in them
 * are copied into the reserve, and readers get both in the order of positions. A directory of a version without a reserve is read
 * completely once.
 */

import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Retention, StoredMessage, Telemetry, TelemetryRange } from '../../telemetry/index.ts';
import { openTelemetry, type TelemetryOptions } from '../../telemetry/open.ts';
import { RESERVED_CLASSES, RESERVED_PART, reservedClassOf } from './event-classes.ts';
import { RESERVED_FILE, ReservedEvents } from './reserved-events.ts';

export interface EventJournalOptions extends TelemetryOptions {
  readonly retention: Retention;
}

/** Events that wait for a transaction of the reserve. */
const MAX_WAITING = 500;

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openEventJournal(options: EventJournalOptions): Promise<Telemetry<string>> {
  const { directory, now, log, retention } = options;
  if (retention.bytes === 0) return openTelemetry<string>(options); // nothing is evicted by bytes
  const opened = Promise.withResolvers<Copier>();
  opened.promise.catch(() => {});
  const journal = await openTelemetry<string>({
    ...options,
    retention: { ...retention, bytes: retention.bytes * (1 - RESERVED_PART * RESERVED_CLASSES.length) },
    beforePruning: async () => (await opened.promise).catchUp(),
  });
  let reserved: ReservedEvents;
  try {
    const bytesPerClass = retention.bytes * RESERVED_PART;
    reserved = new ReservedEvents(join(directory, RESERVED_FILE), { bytesPerClass, age: retention.age });
  } catch (error) {
    opened.reject(error);
    await journal.close();
    throw error;
  }
  const copier = new Copier(journal, reserved, now, log);
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

/** Copies events into the reserve as they are stored, and those of an earlier run once. */
class Copier {
  readonly #journal: Telemetry<string>;
  readonly #reserved: ReservedEvents;
  readonly #now: () => number;
  readonly #log: Logger;
  readonly #stop: () => void;
  #waiting: StoredMessage<string>[] = [];
  #seen: number;
  #earlier: Promise<void> | undefined;
  #hasEarlier = true;

  constructor(journal: Telemetry<string>, reserved: ReservedEvents, now: () => number, log: Logger) {
    this.#journal = journal;
    this.#reserved = reserved;
    this.#now = now;
    this.#log = log;
    this.#seen = reserved.readThrough;
    this.#stop = journal.follow(undefined, (event) => this.#stored(event));
  }

  /** Position of the newest event that was stored since the start, or read before it. */
  get seen(): number {
    return this.#seen;
  }

  /** Resolves when the reserve holds all events of its classes that the journal holds. */
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
      this.#log.error({ err: error }, 'events were not copied into their reserve');
    }
  }

  #stored(event: StoredMessage<string>): void {
    this.#seen = event.position;
    if (reservedClassOf(event.stream) === undefined) return;
    this.#waiting.push(event);
    if (this.#hasEarlier || this.#waiting.length < MAX_WAITING) return;
    try {
      this.#flush();
    } catch (error) {
      this.#log.error({ err: error }, 'events were not copied into their reserve');
    }
  }

  async #copyEarlier(): Promise<void> {
    for await (const page of this.#journal.pages({ after: this.#reserved.readThrough })) {
      const last = page.at(-1) as StoredMessage<string>;
      const wanted = page.filter(({ stream }) => reservedClassOf(stream) !== undefined);
      this.#reserved.add(wanted, last.position, this.#now());
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
  reserved: ReservedEvents,
  copier: Copier,
): AsyncGenerator<readonly StoredMessage<string>[]> {
  let after = range.after ?? 0;
  const pages = journal.pages(range)[Symbol.asyncIterator]();
  try {
    for (;;) {
      // Events after this position may be stored after the journal was read to its end.
      const { seen } = copier;
      const { done, value: page } = await pages.next();
      const first = done === true ? undefined : page[0]?.position;
      for (const older of reserved.pages(range, after, first === undefined ? seen : first - 1)) {
        yield older;
        after = (older.at(-1) as StoredMessage<string>).position;
      }
      if (first === undefined) return;
      yield page;
      after = (page.at(-1) as StoredMessage<string>).position;
    }
  } finally {
    await pages.return?.();
  }
}
