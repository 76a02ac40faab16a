import type { Logger } from 'pino';

/** Logs the first failure of a row, for heartbeats fail four times a second. */
export class FailureLog {
  readonly #log: Logger;
  readonly #failing = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  failed(error: unknown, message: string): void {
    if (this.#failing.has(message)) return;
    this.#failing.add(message);
    this.#log.warn({ err: error }, message);
  }

  ended(): void {
    this.#failing.clear();
  }

  /** Whether this one failed until now. */
  recovered(message: string): boolean {
    return this.#failing.delete(message);
  }
}
