/** How busy the event loop of a node is, over all its threads, and whether its thread hangs. Of one thread after the other. */

import { HangDetector } from './hang-detector.ts';
import type { NodeStatus } from './node-calls.ts';

export class ThreadLoad {
  readonly #hang: HangDetector;
  /** Seconds, of the threads that have ended. */
  #endedSeconds = 0;
  #status: NodeStatus | undefined;
  /** Milliseconds of a monotonic clock at the last status. */
  #at = 0;
  #busy: number | undefined;

  /** Milliseconds. */
  constructor(hangsAfter: number | undefined) {
    this.#hang = new HangDetector(hangsAfter);
  }

  /** 0 to 1, between the last two answers; undefined while the thread does not answer. */
  get busy(): number | undefined {
    return this.#busy;
  }

  /** Seconds since the first thread started. */
  get busySeconds(): number {
    return this.#endedSeconds + (this.#status?.busySeconds ?? 0);
  }

  answered(status: NodeStatus, now: number): void {
    this.#hang.reset();
    if (this.#status !== undefined && now > this.#at) {
      const busy = ((status.busySeconds - this.#status.busySeconds) * 1_000) / (now - this.#at);
      this.#busy = Math.min(1, Math.max(0, busy));
    }
    this.#status = status;
    this.#at = now;
  }

  /** The thread has not answered. */
  unknown(): void {
    this.#busy = undefined;
  }

  /** Of a thread that should have answered: as `HangDetector.unanswered`. */
  hangsFor(question: Parameters<HangDetector['unanswered']>[0]): number | undefined {
    return this.#hang.unanswered(question);
  }

  /** Its thread has ended. */
  ended(): void {
    this.#endedSeconds = this.busySeconds;
    this.#status = undefined;
    this.#busy = undefined;
    this.#hang.reset();
  }
}
