/**
 * Messages between `publish` and PUBACK: the interface of an outbox, and the outbox in memory for a device without a
 * directory. disk-outbox.ts is the durable one.
 */

import { randomBytes } from 'node:crypto';
import { withKey } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';
import { expiresAt, hasExpired, withTimeLeft } from './message-expiry.ts';
import type { PacketProperties } from './mqtt-codec/index.ts';
import { Delivery, type Receipt } from './receipt.ts';
import { type OutboxMessage, type Priority, type Sendable, SendWindow } from './send-window.ts';

export type { OutboxMessage } from './send-window.ts';

export interface NewMessage {
  /** With the key, if the application gave one. */
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  readonly properties?: PacketProperties | undefined;
  /** Default `normal`. On disk the rules of the stream decide, so that it is the same after a reboot. */
  readonly priority?: Priority;
  /** As {@link priority}. Default false. */
  readonly retain?: boolean;
}

export interface OutboxStatus {
  /** Messages not yet acknowledged. */
  readonly messages: number;
  /** Bytes they take: of payload in memory, of records on disk. */
  readonly bytes: number;
  /** Messages dropped in favor of others since the device was opened. */
  readonly dropped: number;
  /** Messages that the broker refused since the device was opened. They are not sent again. */
  readonly refused: number;
  /** Messages that expired before they were sent, since the device was opened. */
  readonly expired: number;
  /** Messages, or stretches of a file that held some, that could not be read back. */
  readonly damaged: number;
}

export interface Outbox {
  readonly status: OutboxStatus;
  /** Calls back when there may be something to send. */
  onReady(ready: () => void): void;
  /**
   * Resolves when the message is safe: of QoS 1 on disk, or acknowledged where there is no disk; of QoS 0 written to the
   * connection.
   */
  add(message: NewMessage): Promise<Receipt>;
  /** The connection was established. `receiveMaximum`: messages that the broker accepts without acknowledgement. */
  connectionOpened(receiveMaximum: number): void;
  /** The next message to send, now in flight; undefined when none may go now. */
  next(): OutboxMessage | undefined;
  /** The message was acknowledged (QoS 1) or handed to the connection (QoS 0). False if it was settled before. */
  settle(message: OutboxMessage): boolean;
  /** The broker refused the message for good: it is given up with `error`. False if it was settled before. */
  refuse(message: OutboxMessage, error: DeviceError): boolean;
  /** The connection was lost: unacknowledged messages are sent again, those of QoS 0 fail. */
  connectionLost(): void;
  /** Packet identifiers that stay reserved while their messages wait to be sent again. */
  reservedIds(): readonly number[];
  /** Resolves when everything was acknowledged or given up; rejects with `closed`. */
  drained(): Promise<void>;
  /** What is open fails with `closed`, before anything is awaited. Idempotent. */
  close(): Promise<void>;
}

export interface OutboxLimits {
  /** In memory: messages not yet answered, waiting and in flight together. */
  readonly messages: number;
  /** In memory: their payload bytes together. */
  readonly bytes: number;
  /** Messages in flight at one time; the broker closes connections over 100. */
  readonly inFlight: number;
  /** Number of sends before a message is given up, because the broker may close the connection for it. */
  readonly sends: number;
}

export const DEFAULT_OUTBOX_LIMITS: OutboxLimits = { messages: 1_000, bytes: 1_048_576, inFlight: 64, sends: 10 };

/** Promises that settle when an outbox is empty or closed. */
export class DrainSignal {
  #waiting: { readonly resolve: () => void; readonly reject: (error: DeviceError) => void }[] = [];

  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  resolveAll(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  rejectAll(error: DeviceError): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

interface Entry extends Sendable {
  /** Uptime in milliseconds; undefined: never. */
  readonly expiresAt: number | undefined;
  readonly delivery: Delivery;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: DeviceError) => void;
}

/** Whether messages of QoS 1 on this topic, which has no key, are sent with one. */
export type NeedsKey = (topic: string) => boolean;

export class MemoryOutbox implements Outbox {
  readonly #limits: OutboxLimits;
  readonly #needsKey: NeedsKey;
  readonly #window: SendWindow<Entry>;
  readonly #epoch = randomBytes(6);
  readonly #drain = new DrainSignal();
  #messages = 0;
  #bytes = 0;
  #lastSequence = 0;
  #refused = 0;
  #expired = 0;
  #isClosed = false;

  constructor(limits: OutboxLimits, needsKey: NeedsKey = () => false) {
    this.#limits = limits;
    this.#needsKey = needsKey;
    this.#window = new SendWindow(limits);
  }

  get status(): OutboxStatus {
    const [refused, expired] = [this.#refused, this.#expired];
    return { messages: this.#messages, bytes: this.#bytes, dropped: 0, refused, expired, damaged: 0 };
  }

  /** There is nothing to send but what was just added, and after {@link settle}. */
  onReady(): void {}

  /** Rejects at once with `outbox_full` when there is no room. */
  add(message: NewMessage): Promise<Receipt> {
    if (this.#isClosed) return Promise.reject(new DeviceError('closed'));
    if (this.#messages >= this.#limits.messages || this.#bytes + message.payload.length > this.#limits.bytes) {
      return Promise.reject(
        new DeviceError('outbox_full', { reason: `${this.#messages} messages, ${this.#bytes} bytes of payload` }),
      );
    }
    this.#messages += 1;
    this.#bytes += message.payload.length;
    this.#lastSequence += 1;
    const { payload, qos, properties, priority = 'normal', retain = false } = message;
    const delivery = new Delivery(this.#epoch, this.#lastSequence, message.topic);
    const isKeyed = qos === 1 && this.#needsKey(message.topic);
    const topic = isKeyed ? withKey(message.topic, delivery.key) : message.topic;
    return new Promise((resolve, reject) => {
      this.#window.push({
        ...{ topic, payload, qos, priority, retain, packetId: 0, sends: 0, state: 'waiting' },
        ...{ properties, expiresAt: expiresAt(properties, 0), delivery, resolve, reject },
      });
    });
  }

  connectionOpened(receiveMaximum: number): void {
    this.#window.setMaximum(receiveMaximum);
  }

  next(): OutboxMessage | undefined {
    for (let entry = this.#window.next(); entry !== undefined; entry = this.#window.next()) {
      if (!hasExpired(entry.expiresAt)) {
        entry.properties = withTimeLeft(entry.properties, entry.expiresAt);
        return entry;
      }
      this.#window.remove(entry);
      this.#expired += 1;
      this.#reject(entry, new DeviceError('message_expired'));
    }
    return undefined;
  }

  settle(message: OutboxMessage): boolean {
    const entry = message as Entry;
    if (!this.#window.settle(entry)) return false;
    this.#removeEntry(entry);
    entry.delivery.acknowledge();
    entry.resolve(entry.delivery);
    return true;
  }

  refuse(message: OutboxMessage, error: DeviceError): boolean {
    const entry = message as Entry;
    if (!this.#window.settle(entry)) return false;
    this.#refused += 1;
    this.#reject(entry, error);
    return true;
  }

  connectionLost(): void {
    const { lost, givenUp } = this.#window.requeueUnacknowledged();
    for (const entry of lost) this.#reject(entry, new DeviceError('connection_lost'));
    for (const entry of givenUp) this.#reject(entry, new DeviceError('not_acknowledged'));
  }

  reservedIds(): number[] {
    return this.#window.reservedIds();
  }

  drained(): Promise<void> {
    if (this.#isClosed) return Promise.reject(new DeviceError('closed'));
    return this.#messages === 0 ? Promise.resolve() : this.#drain.wait();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const error = new DeviceError('closed');
    this.#drain.rejectAll(error);
    for (const entry of this.#window.drain()) this.#reject(entry, error);
  }

  #reject(entry: Entry, error: DeviceError): void {
    this.#removeEntry(entry);
    entry.reject(error);
  }

  #removeEntry(entry: Entry): void {
    this.#messages -= 1;
    this.#bytes -= entry.payload.length;
    if (this.#messages === 0) this.#drain.resolveAll();
  }
}
