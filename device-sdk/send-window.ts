/**
 * The order of sending: first the messages that a lost connection left unacknowledged, then the others by priority, with a
 * bound on messages in flight. It stores no message and settles no promise.
 */

import type { PacketProperties } from './mqtt-codec/index.ts';

export interface OutboxMessage {
  /** As it is sent: with the key, if it has one. */
  topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  /** The MQTT retain flag. */
  readonly retain?: boolean;
  properties?: PacketProperties | undefined;
  /** Zero until it is first sent with QoS 1. */
  packetId: number;
  sends: number;
}

/** Messages of a higher priority overtake all others that wait. */
export type Priority = 'high' | 'normal' | 'low';

/** `gone`: dropped while it waited; it is skipped. */
export interface Sendable extends OutboxMessage {
  readonly priority: Priority;
  state: 'waiting' | 'in flight' | 'gone';
}

/** The highest first. */
export const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low'];

export interface WindowLimits {
  /** Messages in flight at one time; the broker closes connections over 100. */
  readonly inFlight: number;
  /** Number of sends before a message is given up, because the broker may close the connection for it. */
  readonly sends: number;
}

export class SendWindow<Entry extends Sendable> {
  readonly #limits: WindowLimits;
  /** Sent before and unanswered, oldest first. */
  #requeued: Entry[] = [];
  readonly #queues: Readonly<Record<Priority, Queue<Entry>>> = {
    high: new Queue(),
    normal: new Queue(),
    low: new Queue(),
  };
  readonly #inFlight = new Set<Entry>();
  /** Set by the broker of this connection. */
  #maximum: number;
  #window: number;
  /** Something was acknowledged since the connection began. */
  #hasProgress = false;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
    this.#maximum = limits.inFlight;
    this.#window = limits.inFlight;
  }

  /** The broker of this connection accepts so many at one time. */
  setMaximum(receiveMaximum: number): void {
    this.#maximum = Math.min(this.#limits.inFlight, receiveMaximum);
    this.#window = Math.min(this.#window, this.#maximum);
  }

  push(entry: Entry): void {
    this.#queues[entry.priority].push(entry);
  }

  /** The next to send, without taking it; undefined when none waits or the window is full. */
  peek(): Entry | undefined {
    if (this.#inFlight.size >= this.#window) return undefined;
    while (this.#requeued[0]?.state === 'gone') this.#requeued.shift();
    if (this.#requeued.length > 0) return this.#requeued[0];
    for (const priority of PRIORITIES) {
      const first = this.#queues[priority].first();
      if (first !== undefined) return first;
    }
    return undefined;
  }

  /** Takes what {@link peek} showed; it is in flight now. */
  next(): Entry | undefined {
    const entry = this.peek();
    if (entry === undefined) return undefined;
    if (this.#requeued.length > 0) this.#requeued.shift();
    else this.#queues[entry.priority].shift();
    entry.sends += 1;
    entry.state = 'in flight';
    this.#inFlight.add(entry);
    return entry;
  }

  /** The message was acknowledged. False if it is not in flight. */
  settle(entry: Entry): boolean {
    if (!this.remove(entry)) return false;
    if (entry.qos === 1) {
      this.#hasProgress = true;
      this.#window = this.#maximum;
    }
    return true;
  }

  /** The message could not be sent. False if it is not in flight. */
  remove(entry: Entry): boolean {
    return this.#inFlight.delete(entry);
  }

  /**
   * After a lost connection: what is in flight with QoS 1 waits again, in its old order and before all others. `lost`
   * are those of QoS 0, which are not sent twice, `givenUp` those that were sent too often. If nothing at all was
   * acknowledged, the oldest message may be the reason for the loss: it is sent alone, so that the
   * others are not affected.
   */
  requeueUnacknowledged(): { readonly lost: readonly Entry[]; readonly givenUp: readonly Entry[] } {
    if (!this.#hasProgress && this.#inFlight.size > 0) this.#window = 1;
    this.#hasProgress = false;
    const sent = [...this.#inFlight];
    this.#inFlight.clear();
    const lost = sent.filter(({ qos }) => qos === 0);
    const givenUp = sent.filter(({ qos, sends }) => qos === 1 && sends >= this.#limits.sends);
    const again = sent.filter(({ qos, sends }) => qos === 1 && sends < this.#limits.sends);
    for (const entry of again) entry.state = 'waiting';
    this.#requeued = [...again, ...this.#requeued];
    return { lost, givenUp };
  }

  /** Packet identifiers that stay reserved while their messages wait to be sent again. */
  reservedIds(): number[] {
    return this.#requeued.filter(({ state }) => state !== 'gone').map(({ packetId }) => packetId);
  }

  /** Empties the window; gives everything that was in it, in the order of sending. */
  drain(): readonly Entry[] {
    const all = [
      ...this.#inFlight,
      ...this.#requeued,
      ...PRIORITIES.flatMap((priority) => this.#queues[priority].drain()),
    ];
    this.#inFlight.clear();
    this.#requeued = [];
    return all.filter(({ state }) => state !== 'gone');
  }
}

/** First in, first out. Shifting a long array costs its length each time, so its beginning moves instead. */
class Queue<Entry extends Sendable> {
  #entries: Entry[] = [];
  #head = 0;

  push(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** The first that is still there. */
  first(): Entry | undefined {
    while (this.#entries[this.#head]?.state === 'gone') this.shift();
    return this.#entries[this.#head];
  }

  shift(): void {
    this.#head += 1;
    if (this.#head < 256 || this.#head * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }

  drain(): readonly Entry[] {
    const left = this.#entries.slice(this.#head);
    this.#entries = [];
    this.#head = 0;
    return left;
  }
}
