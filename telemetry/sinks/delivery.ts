/** Delivers batches to a target: each is tried until every message of it has arrived or is a dead letter. */

import type { Backoff } from './backoff.ts';
import type { DeadLetters } from './dead-letters.ts';
import type { EventDigest } from './event-digest.ts';
import { Interrupted, type Interruptions } from './interruptions.ts';
import type { SinkState } from './sink-state.ts';
import { type RefusedMessage, type SinkMessage, type Target, TargetDown } from './target.ts';

export interface DeliveryOptions {
  readonly target: Target;
  readonly backoff: Backoff;
  readonly deadLetters: DeadLetters;
  readonly state: SinkState;
  readonly interruptions: Interruptions;
}

export class Delivery {
  /** Messages that the target has. */
  forwarded = 0;
  retries = 0;
  readonly #options: DeliveryOptions;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** Throws `Interrupted`, and what writing dead letters throws. */
  async deliver(messages: readonly SinkMessage[], digest?: EventDigest): Promise<void> {
    const { target, backoff, deadLetters, state, interruptions } = this.#options;
    let batch = messages;
    while (batch.length > 0) {
      interruptions.check();
      let refused: readonly RefusedMessage[];
      try {
        refused = await interruptions.unlessStopped(target.deliver(batch, interruptions.signal, digest));
        state.readNotice();
      } catch (error) {
        state.readNotice();
        if (interruptions.isClosing) throw new Interrupted();
        this.retries += 1;
        state.failed(error);
        await interruptions.wait(backoff.next(error instanceof TargetDown ? error.retryAfter : undefined));
        batch = await this.#skipFirst(batch);
        continue;
      }
      await deadLetters.add(refused);
      this.forwarded += batch.length - refused.length;
      backoff.succeeded();
      state.succeeded();
      // The target took the message that was to be skipped: another one that it does not take later is not meant.
      interruptions.takeSkip()?.(undefined);
      return;
    }
  }

  async #skipFirst(batch: readonly SinkMessage[]): Promise<readonly SinkMessage[]> {
    const [first, ...rest] = batch;
    const skipped = first && this.#options.interruptions.takeSkip();
    if (skipped === undefined) return batch;
    await this.#options.deadLetters.add([{ message: first as SinkMessage, reason: 'skipped by an operator' }]);
    skipped(first);
    return rest;
  }
}
