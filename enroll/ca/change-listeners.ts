/** Listeners for one kind of change. A listener that fails is logged and does not keep the others from being called. */

import type { Logger } from 'pino';

export class ChangeListeners<Change = void> {
  readonly #listeners = new Set<(change: Change) => void | Promise<void>>();
  readonly #onError: (error: unknown) => void;

  /** `failure`: the log line for a listener that fails. */
  constructor(log: Logger, failure: string, fields: Readonly<Record<string, unknown>> = {}) {
    this.#onError = (error) => log.error({ ...fields, err: error }, failure);
  }

  /** Returns the function that unsubscribes. */
  add(listener: (change: Change) => void | Promise<void>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls every listener at once and resolves when the last one has finished. Never rejects. */
  async notify(change: Change): Promise<void> {
    const settled = await Promise.allSettled([...this.#listeners].map(async (listener) => listener(change)));
    for (const result of settled) if (result.status === 'rejected') this.#onError(result.reason);
  }
}
