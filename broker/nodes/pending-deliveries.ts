/**
 * Messages of a node that are stored, and that the node delivers when it has acknowledged them. By the number that the node gave them. Those
 * of one node have a bound in bytes: beyond it the oldest is delivered at once, which a message that is stored may be.
 */

import type { ShareChoice } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import { messageBytes, messageWeight } from '../session-store/stored-message.ts';

export interface PendingDelivery {
  readonly message: Message;
  readonly shares: readonly ShareChoice[] | undefined;
}

export interface PendingDeliveriesOptions {
  /** Bytes of messages, at most, besides the last one. */
  readonly bytes?: number;
  /** Delivers one before its node asks for it. */
  readonly deliver: (pending: PendingDelivery) => void;
}

/** As much as a node may have stored in the journal and not reported (`telemetry/nodes/node-reports.ts`). */
const PENDING_BYTES = 64 * 1_048_576;

/** No acknowledgement waits for so long: the connection of the message has ended without one. */
const FORGOTTEN_AFTER_MS = 120_000;

interface Entry extends PendingDelivery {
  readonly since: number;
  readonly bytes: number;
}

export class PendingDeliveries {
  readonly #options: PendingDeliveriesOptions;
  readonly #pending = new Map<number, Entry>();
  #bytes = 0;

  constructor(options: PendingDeliveriesOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  put(number: number, { message, shares }: PendingDelivery): void {
    const bytes = messageWeight(message.topic, messageBytes(message));
    this.#pending.set(number, { message, shares, bytes, since: performance.now() });
    this.#bytes += bytes;
    const { bytes: most = PENDING_BYTES, deliver } = this.#options;
    for (const [oldest, pending] of this.#pending) {
      if (this.#bytes <= most || oldest === number) return;
      this.take(oldest);
      deliver(pending);
    }
  }

  /** Undefined: it was delivered, or forgotten. */
  take(number: number): PendingDelivery | undefined {
    const found = this.#pending.get(number);
    if (found === undefined) return undefined;
    this.#pending.delete(number);
    this.#bytes -= found.bytes;
    return found;
  }

  sweep(): void {
    const oldest = performance.now() - FORGOTTEN_AFTER_MS;
    for (const [number, { since }] of this.#pending) {
      if (since > oldest) return;
      this.take(number);
    }
  }
}
