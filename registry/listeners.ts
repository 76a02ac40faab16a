/** Those who want to hear of something after it was committed. One that fails neither stops the others nor hides. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';

/** `Answer` is what a listener may give back. */
export class Listeners<Event, Answer = never> {
  readonly #listeners = new Set<(event: Event) => ListenerResult<Answer>>();
  readonly #log: Logger;
  /** What has happened, for the log: "a revocation". */
  readonly #what: string;

  constructor(what: string, log: Logger) {
    this.#what = what;
    this.#log = log;
  }

  /** Returns the way to unsubscribe. */
  add(listener: (event: Event) => ListenerResult<Answer>): () => void {
    const own = (event: Event) => listener(event); // so that one function can listen twice
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /**
   * Starts every listener with every event, waits for all, and gives their answers, those that gave one. Throws Problem
   * `internal` if any of them failed.
   */
  async notify(events: readonly Event[]): Promise<readonly Answer[]> {
    const running = events.flatMap((event) => [...this.#listeners].map(async (listener) => listener(event)));
    const settled = await Promise.allSettled(running);
    const failures = settled.filter((result) => result.status === 'rejected');
    for (const { reason } of failures) this.#log.error({ err: reason, event: this.#what }, 'listener failed');
    if (failures.length > 0) {
      throw new Problem('internal', {
        reason: `${this.#what} is committed, but ${failures.length} listeners failed`,
        cause: failures[0]?.reason,
      });
    }
    return settled.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : []));
  }
}

// biome-ignore lint/suspicious/noConfusingVoidType: most listeners give nothing back
type ListenerResult<Answer> = void | Answer | Promise<void | Answer>;
