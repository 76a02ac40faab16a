/**
 * Notifies listeners of a committed change, on all nodes that have the registry. A listener that fails does not stop the others; its
 * error is logged and thrown.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { OtherNodes } from './database.ts';
import { mergeOutcomes, type NodeOutcome } from './node-outcome.ts';
import type { ChangeKind, Transaction } from './transaction.ts';

/** What a listener returns: nothing, or a result. */
// biome-ignore lint/suspicious/noConfusingVoidType: most listeners return nothing
export type ListenerResult<Result> = void | Result | Promise<void | Result>;

export interface Notified<Result> {
  /** Of the listeners of all nodes that confirmed in time. */
  readonly results: readonly Result[];
  /** What each node did that may have had sessions; none where one process has the registry. */
  readonly nodes: readonly NodeOutcome[];
}

export class Listeners<Event, Result = never> {
  readonly #listeners = new Set<(event: Event) => ListenerResult<Result>>();
  readonly #log: Logger;
  readonly #kind: ChangeKind;
  readonly #others: OtherNodes | undefined;

  constructor(kind: ChangeKind, log: Logger, others: OtherNodes | undefined) {
    this.#kind = kind;
    this.#log = log;
    this.#others = others;
  }

  /** Returns a function that removes the listener. */
  add(listener: (event: Event) => ListenerResult<Result>): () => void {
    const own = (event: Event) => listener(event); // so that one function can be added twice
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /** In the transaction that makes the change. `notify()` gets the same object after the commit. */
  publish(tx: Transaction, event: Event): void {
    tx.publish(this.#kind, event);
  }

  /**
   * After the commit of published events: as `notifyHere()`, and waits a limited time for what the listeners of other nodes return.
   */
  async notify(events: readonly Event[]): Promise<Notified<Result>> {
    const others = this.#others;
    if (others === undefined) return { results: await this.notifyHere(events), nodes: [] };
    const published = events.filter((event) => typeof event === 'object' && event !== null);
    const here = async () => ({ results: await this.notifyHere(events), nodes: others.confirm(published) });
    const [own, { reports, nodes }] = await Promise.all([here(), others.outcomeOf(published)]);
    return { results: [...own.results, ...(reports as readonly Result[])], nodes: mergeOutcomes([own.nodes, nodes]) };
  }

  /**
   * Calls every listener of this node with every event at once, waits for all, and returns the results. Throws Problem
   * `internal` when a listener failed.
   */
  async notifyHere(events: readonly Event[]): Promise<readonly Result[]> {
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
