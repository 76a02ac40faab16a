/** Hands out each message of one device when it is due, between `resume` and `pause`. It sends nothing. */

import type { Message, Publisher } from './publisher.ts';
import type { ShardContext } from './shard-context.ts';

export class PublishSchedule {
  readonly #context: ShardContext;
  readonly #publishers: readonly Publisher[];
  readonly #send: (message: Message) => void;
  #isRunning = false;
  /** Grows with each resume: what was due before a pause is not sent beside what is due after it. */
  #generation = 0;

  constructor(context: ShardContext, publishers: readonly Publisher[], send: (message: Message) => void) {
    this.#context = context;
    this.#publishers = publishers;
    this.#send = send;
  }

  /** Acknowledged sequence numbers by stream, as ranges. */
  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#publishers.map(({ stream, acknowledged }) => [stream, acknowledged.ranges]));
  }

  resume(now: number): void {
    if (this.#isRunning || this.#context.isRunOver) return;
    this.#isRunning = true;
    this.#generation += 1;
    for (const publisher of this.#publishers) this.#waitFor(publisher, publisher.start(now));
  }

  pause(): void {
    this.#isRunning = false;
  }

  #waitFor(publisher: Publisher, due: number | undefined): void {
    if (due === undefined) return;
    const generation = this.#generation;
    const slot = this.#context.timers.at(due, () => {
      if (generation !== this.#generation || !this.#isRunning || this.#context.isRunOver) return;
      this.#send(publisher.next(slot));
      this.#waitFor(publisher, publisher.nextDue());
    });
  }
}
