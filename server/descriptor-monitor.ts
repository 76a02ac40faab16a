/**
 * Notices that the process has no file descriptor left. The event loop then accepts connections and closes them at once,
 * and tells nobody. Tries to open a file every second; logs the change, at most once a minute.
 */

import { close, open, readFileSync } from 'node:fs';
import { Problem, parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';

const PROBE_INTERVAL_MS = 1_000;
const LOG_INTERVAL_MS = 60_000;

/** What a server without a single client has open, and a few for its clients. */
const DESCRIPTORS_NEEDED = 80;

/**
 * Throws `unavailable` where the limit of open files is too low for a server. SQLite and worker threads would fail without
 * a word about descriptors.
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
  /** Read while a descriptor is free. */
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

/** Of Linux; undefined elsewhere. */
function descriptorLimit(): number | undefined {
  try {
    return parseDecimal(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1], 0);
  } catch {
    return undefined;
  }
}
