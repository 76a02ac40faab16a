/**
 * Messages of QoS 1 of a light device without an acknowledgement: a few in flight, the others queued in order. Messages in flight
 * when a connection broke are sent first on the next one [MQTT-4.6.0-1].
 */

import { encodePublish, type MqttVersion } from '@rollcall/device-sdk/mqtt-codec';
import type { Message } from './publisher.ts';

/** What CONNACK says about a session. */
export interface AcceptedSession {
  /** The broker has the session of an earlier connection. */
  readonly isResumed: boolean;
  /** Messages of QoS 1 that the broker takes at one time. */
  readonly receiveMaximum: number;
}

interface InFlight {
  readonly id: number;
  readonly message: Message;
}

/** Brokers bound what is in flight, and devices what they store. */
const WINDOW = 20;
const QUEUED_MAX = 1_000;
/** The last identifier is left for a SUBSCRIBE. */
const LAST_ID = 0xfffe;

export class OutgoingMessages {
  readonly #version: MqttVersion;
  #inFlight: InFlight[] = [];
  #queue: Message[] = [];
  #lastId = 0;
  #window = WINDOW;

  constructor(version: MqttVersion) {
    this.#version = version;
  }

  get unacknowledged(): number {
    return this.#inFlight.length + this.#queue.length;
  }

  /** Returns how many older messages were dropped for it. */
  add(message: Message): number {
    this.#queue.push(message);
    if (this.#queue.length <= QUEUED_MAX) return 0;
    this.#queue.shift();
    return 1;
  }

  drain(write: (packet: Buffer) => void): void {
    while (this.#queue.length > 0 && this.#inFlight.length < this.#window) {
      const message = this.#queue.shift() as Message;
      this.#lastId = (this.#lastId % LAST_ID) + 1;
      this.#inFlight.push({ id: this.#lastId, message });
      write(this.#packet(message, this.#lastId, false));
    }
  }

  /** On a new connection. In a resumed session, messages in flight keep their packet identifiers [MQTT-4.4.0-1]. */
  resume(write: (packet: Buffer) => void, { isResumed, receiveMaximum }: AcceptedSession): void {
    this.#window = Math.min(WINDOW, receiveMaximum);
    if (isResumed) {
      for (const { id, message } of this.#inFlight) write(this.#packet(message, id, true));
    } else if (this.#inFlight.length > 0) {
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

  #packet({ publisher: { topic, properties }, payload }: Message, packetId: number, dup: boolean): Buffer {
    return encodePublish(this.#version, { topic, payload, qos: 1, packetId, dup, properties });
  }
}
