/**
 * Turns audit entries into events, in order and without loss: the audit is written in the transaction of every change, and a cursor
 * holds the position that was read. An event that is repeated after a crash is stored once.
 */

import type { Logger } from 'pino';
import type { Registry } from '../../registry/index.ts';
import { fleetEventOf } from './audit-entry-event.ts';
import type { EventLog } from './event-log.ts';

/** The position in the audit, in a file or a table. */
export interface AuditCursor {
  read(): number | undefined;
  /** Resolves when it is stored. */
  save(position: number): Promise<void>;
}

export interface AuditFollowerOptions {
  readonly registry: Pick<Registry, 'exportAudit' | 'listAudit'>;
  readonly events: Pick<EventLog, 'store'>;
  readonly cursor: AuditCursor;
  /** Milliseconds between two polls. */
  readonly pollEvery: number;
  readonly log: Logger;
}

const PAGE = 500;

export class AuditFollower {
  readonly #options: AuditFollowerOptions;
  #at: number;
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;
  #isWanted = false;
  #isClosed = false;
  #isFailing = false;

  private constructor(options: AuditFollowerOptions, at: number) {
    this.#options = options;
    this.#at = at;
    this.#timer = setInterval(() => void this.poll(), options.pollEvery).unref();
  }

  /** Without a cursor, existing entries are skipped. */
  static async open(options: AuditFollowerOptions): Promise<AuditFollower> {
    const saved = options.cursor.read();
    if (saved !== undefined) return new AuditFollower(options, saved);
    const [newest] = await options.registry.listAudit({ limit: 1 });
    const at = newest?.id ?? 0;
    await options.cursor.save(at);
    return new AuditFollower(options, at);
  }

  /** Reads new entries. Resolves when all entries of the time of the call are events. */
  async poll(): Promise<void> {
    if (this.#isClosed) return;
    this.#isWanted = true;
    this.#polling ??= this.#read().finally(() => {
      this.#polling = undefined;
    });
    await this.#polling;
  }

  /** Reads new entries once more, then stops. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.poll();
    this.#isClosed = true;
  }

  async #read(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      try {
        await this.#readOn();
        this.#isFailing = false;
      } catch (error) {
        // Retried at the next poll; logged once.
        if (!this.#isFailing) this.#options.log.error({ err: error }, 'events of the audit could not be stored');
        this.#isFailing = true;
      }
    }
  }

  async #readOn(): Promise<void> {
    const { registry, events, cursor } = this.#options;
    for (;;) {
      const page = await registry.exportAudit({ after: this.#at, limit: PAGE });
      const last = page.at(-1);
      if (last === undefined) return;
      await Promise.all(
        page.map((entry) => {
          const event = fleetEventOf(entry);
          return event && events.store(event, `audit-${entry.id}`);
        }),
      );
      await cursor.save(last.id);
      this.#at = last.id;
      if (page.length < PAGE) return;
    }
  }
}
