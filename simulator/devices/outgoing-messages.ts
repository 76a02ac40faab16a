/**
 * Messages of QoS 1 of a light device without an acknowledgement: a few in flight, the others queued in order. Messages in flight
 * when a connection broke are sent first on the next one [MQTT-4.6.0-1].
 */

import { publishPacket } from './mqtt-packets.ts';
import type { Message } from './publisher.ts';

interface InFlight {
  readonly id: number;
  readonly message: Message;
}

/** Brokers bound what is in flight, and devices what they keep. */
const WINDOW = 20;
const KEPT = 1_000;
/** The last identifier is left for a SUBSCRIBE. */
const LAST_ID = 0xfffe;

export class OutgoingMessages {
  #inFlight: InFlight[] = [];
  #queue: Message[] = [];
  #lastId = 0;

  get unacknowledged(): number {
    return this.#inFlight.length + this.#queue.length;
  }

  /** Returns how many older ones had to go for it. */
  add(message: Message): number {
    this.#queue.push(message);
    if (this.#queue.length <= KEPT) return 0;
    this.#queue.shift();
    return 1;
  }

  drain(write: (packet: Buffer) => void): void {
    while (this.#queue.length > 0 && this.#inFlight.length < WINDOW) {
      const message = this.#queue.shift() as Message;
      this.#lastId = (this.#lastId % LAST_ID) + 1;
      this.#inFlight.push({ id: this.#lastId, message });
      write(publishPacket(message.publisher.topic, message.payload, 1, this.#lastId));
    }
  }

  /** On a new connection. */
  resume(write: (packet: Buffer) => void): void {
    if (this.#inFlight.length > 0) {
      this.#queue.unshift(...this.#inFlight.map(({ message }) => message));
      this.#inFlight = [];
    }
    this.drain(write);
  }

  acknowledge(id: number): Message | undefined {
    const at = this.#inFlight.findIndex((waiting) => waiting.id === id);
    return at < 0 ? undefined : this.#inFlight.splice(at, 1)[0]?.message;
  }

  /** Returns how many are lost. */
  clear(): number {
    const lost = this.unacknowledged;
    this.#inFlight = [];
    this.#queue = [];
    return lost;
  }
}
