/** Notifies listeners of a committed change. A listener that fails does not stop the others; its error is logged and thrown. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';

/** What a listener returns: nothing, or a result. */
// biome-ignore lint/suspicious/noConfusingVoidType: most listeners return nothing
export type ListenerResult<Result> = void | Result | Promise<void | Result>;

export class Listeners<Event, Result = never> {
  readonly #listeners = new Set<(event: Event) => ListenerResult<Result>>();
  readonly #log: Logger;
  /** Kind of event, for the log: "revocation". */
  readonly #kind: string;

  constructor(kind: string, log: Logger) {
    this.#kind = kind;
    this.#log = log;
  }

  /** Returns a function that removes the listener. */
  add(listener: (event: Event) => ListenerResult<Result>): () => void {
    const own = (event: Event) => listener(event); // so that one function can be added twice
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /**
   * Calls every listener with every event at once, waits for all, and returns the results. Throws Problem `internal` when
   * a listener failed.
   */
  async notify(events: readonly Event[]): Promise<readonly Result[]> {
    const running = events.flatMap((event) => [...this.#listeners].map(async (listener) => listener(event)));
    const settled = await Promise.allSettled(running);
    const failures = settled.filter((result) => result.status === 'rejected');
    for (const { reason } of failures) this.#log.error({ err: reason, event: this.#kind }, 'listener failed');
    if (failures.length > 0) {
      throw new Problem('internal', {
        reason: `${this.#kind} is committed, but ${failures.length} listeners failed`,
        cause: failures[0]?.reason,
      });
    }
    return settled.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : []));
  }
}
