/** Messages of a node that are stored, and that the node delivers when it has acknowledged them. By the number that the node gave them. */

import type { ShareChoice } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';

export interface PendingDelivery {
  readonly message: Message;
  readonly shares: readonly ShareChoice[] | undefined;
}

/** No acknowledgement waits for so long: the connection of the message has ended without one. */
const FORGOTTEN_AFTER_MS = 120_000;

export class PendingDeliveries {
  readonly #pending = new Map<number, PendingDelivery & { readonly since: number }>();

  put(number: number, delivery: PendingDelivery): void {
    this.#pending.set(number, { ...delivery, since: performance.now() });
  }

  take(number: number): PendingDelivery | undefined {
    const found = this.#pending.get(number);
    this.#pending.delete(number);
    return found;
  }

  sweep(): void {
    const oldest = performance.now() - FORGOTTEN_AFTER_MS;
    for (const [number, { since }] of this.#pending) {
      if (since > oldest) return;
      this.#pending.delete(number);
    }
  }
}
