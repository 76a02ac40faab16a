/** Work that runs once at a time, and once more when it was requested meanwhile. */

import type { Logger } from 'pino';

export class SingleRun {
  readonly #work: () => Promise<void>;
  readonly #log: Logger;
  #running: Promise<void> | undefined;
  #isRequested = false;

  constructor(work: () => Promise<void>, log: Logger) {
    this.#work = work;
    this.#log = log;
  }

  /** Resolves when it has run, or failed. */
  request(): Promise<void> {
    this.#isRequested = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isRequested) {
      this.#isRequested = false;
      try {
        await this.#work();
      } catch (error) {
        // The next wake comes within a second, also when nothing happens.
        this.#log.warn({ err: error }, 'changes of other nodes were not read');
      }
    }
    this.#running = undefined;
  }
}
