/**
 * Messages between `publish` and the broker's answer: first waiting, then in flight, bounded in number and bytes.
 * Pure bookkeeping in memory; it sends nothing and forgets with the process. (A queue on disk will take its place by
 * having the same methods.)
 */

import { DeviceError } from './device-error.ts';

export interface OutboxLimits {
  /** Messages not yet answered, waiting and in flight together. */
  readonly messages: number;
  /** Their payload bytes together. */
  readonly bytes: number;
  /** Messages in flight at one time; the broker closes connections over 100. */
  readonly inFlight: number;
  /** Times a message is sent before it is given up: one that the broker drops us for must not do so for ever. */
  readonly sends: number;
}

export const DEFAULT_OUTBOX_LIMITS: OutboxLimits = { messages: 1_000, bytes: 1_048_576, inFlight: 64, sends: 10 };

export interface OutboxMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  /** Zero until it is first sent with QoS 1. */
  packetId: number;
  sends: number;
}

interface Entry extends OutboxMessage {
  readonly resolve: () => void;
  readonly reject: (error: DeviceError) => void;
}

export class Outbox {
  readonly #limits: OutboxLimits;
  /** Oldest first; those sent before a connection was lost go back to the front. */
  #waiting: Entry[] = [];
  readonly #inFlight = new Set<Entry>();
  #bytes = 0;
  #window: number;
  /** Something was acknowledged since the connection began. */
  #hasProgress = false;

  constructor(limits: OutboxLimits) {
    this.#limits = limits;
    this.#window = limits.inFlight;
  }

  get size(): number {
    return this.#waiting.length + this.#inFlight.size;
  }

  /** Settles with the message; rejects at once with `outbox_full` when there is no room. */
  add(message: { readonly topic: string; readonly payload: Buffer; readonly qos: 0 | 1 }): Promise<void> {
    if (this.size >= this.#limits.messages || this.#bytes + message.payload.length > this.#limits.bytes) {
      return Promise.reject(
        new DeviceError('outbox_full', { reason: `${this.size} messages, ${this.#bytes} bytes of payload` }),
      );
    }
    this.#bytes += message.payload.length;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...message, packetId: 0, sends: 0, resolve, reject });
    });
  }

  /** The next message to send, now in flight; undefined when none waits or the window is full. */
  next(): OutboxMessage | undefined {
    if (this.#inFlight.size >= this.#window) return undefined;
    const entry = this.#waiting.shift();
    if (entry === undefined) return undefined;
    entry.sends += 1;
    this.#inFlight.add(entry);
    return entry;
  }

  /** The message was acknowledged (QoS 1) or handed to the connection (QoS 0). False if it was settled before. */
  settle(message: OutboxMessage): boolean {
    const entry = message as Entry;
    if (!this.#inFlight.delete(entry)) return false;
    this.#bytes -= entry.payload.length;
    if (entry.qos === 1) {
      this.#hasProgress = true;
      this.#window = this.#limits.inFlight;
    }
    entry.resolve();
    return true;
  }

  /** The message could not be sent at all. */
  fail(message: OutboxMessage, error: DeviceError): void {
    const entry = message as Entry;
    if (!this.#inFlight.delete(entry)) return;
    this.#bytes -= entry.payload.length;
    entry.reject(error);
  }

  /**
   * After a lost connection: what is in flight with QoS 1 waits again, in its old order and before all others. A
   * message of QoS 0 that was perhaps sent is not sent twice; it fails with `connection_lost`. If nothing at all was
   * acknowledged, the oldest message may be the reason for the loss: it is sent alone, so that it doesn't take those
   * behind it along.
   */
  takeBack(): void {
    if (!this.#hasProgress && this.#inFlight.size > 0) this.#window = 1;
    this.#hasProgress = false;
    const again: Entry[] = [];
    for (const entry of [...this.#inFlight]) {
      if (entry.qos === 0) this.fail(entry, new DeviceError('connection_lost'));
      else if (entry.sends >= this.#limits.sends) this.fail(entry, new DeviceError('not_acknowledged'));
      else again.push(entry);
    }
    this.#inFlight.clear();
    this.#waiting = [...again, ...this.#waiting];
  }

  /** Packet identifiers that stay reserved while their messages wait to be sent again. */
  reservedIds(): number[] {
    return this.#waiting.filter((entry) => entry.packetId !== 0).map((entry) => entry.packetId);
  }

  failAll(error: DeviceError): void {
    for (const entry of [...this.#inFlight, ...this.#waiting]) entry.reject(error);
    this.#inFlight.clear();
    this.#waiting = [];
    this.#bytes = 0;
  }
}
