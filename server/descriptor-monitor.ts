/**
 * Detects that the process has no free file descriptor: the event loop then accepts connections and closes them at once
 * without an error. Opens a file every second, and logs a change at most once a minute.
 */

import { close, open, readFileSync } from 'node:fs';
import { Problem, parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';

const PROBE_INTERVAL_MS = 1_000;
const LOG_INTERVAL_MS = 60_000;

/** The descriptors of a server without clients, and a few for clients. */
const DESCRIPTORS_NEEDED = 80;

/**
 * Throws `unavailable` when the limit of open files is too low for a server. The errors of SQLite and of worker threads
 * would not mention descriptors.
 */
export function expectDescriptors(limit = descriptorLimit()): void {
  if (limit === undefined || limit >= DESCRIPTORS_NEEDED) return;
  throw new Problem('unavailable', {
    detail: 'no file descriptor is left',
    reason: `the limit of open files is ${limit}, and a server needs at least ${DESCRIPTORS_NEEDED}`,
    hint: 'raise the limit of open files (ulimit -n, LimitNOFILE)',
  });
}

export interface DescriptorMonitorOptions {
  readonly log: Logger;
  /** Milliseconds of any origin. */
  readonly now: () => number;
  readonly everyMs?: number;
}

export class DescriptorMonitor {
  readonly #options: DescriptorMonitorOptions;
  readonly #timer: NodeJS.Timeout;
  /** Read at the start, because reading it needs a descriptor. */
  readonly #limit = descriptorLimit();
  #isExhausted = false;
  #isLogged = false;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: DescriptorMonitorOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#probe(), options.everyMs ?? PROBE_INTERVAL_MS).unref();
  }

  counters(): Readonly<Record<string, number>> {
    return { descriptors_exhausted: this.#isExhausted ? 1 : 0 };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
  }

  #probe(): void {
    open('/dev/null', 'r', (error, fd) => {
      if (error === null) close(fd, () => {});
      this.#isExhausted = error?.code === 'EMFILE' || error?.code === 'ENFILE';
      const { log, now } = this.#options;
      if (this.#isExhausted && !this.#isLogged && now() - this.#loggedAt >= LOG_INTERVAL_MS) {
        this.#isLogged = true;
        this.#loggedAt = now();
        log.error(
          { code: error?.code, limit: this.#limit },
          'no file descriptor is left: new connections are closed; raise the limit of open files (ulimit -n, LimitNOFILE)',
        );
      } else if (!this.#isExhausted && this.#isLogged) {
        this.#isLogged = false;
        log.info('file descriptors are free again');
      }
    });
  }
}

/** The limit of open files on Linux; undefined on other systems. */
export function descriptorLimit(): number | undefined {
  try {
    return parseDecimal(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1], 0);
  } catch {
    return undefined;
  }
}
