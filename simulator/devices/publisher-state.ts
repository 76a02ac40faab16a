/**
 * What a device of a swarm says: each message when it is due, those of QoS 1 kept until they are acknowledged. It knows its
 * connection only as something to write to.
 */

import { publishPacket } from './mqtt-packets.ts';
import { OutgoingMessages } from './outgoing-messages.ts';
import type { Message, Publisher } from './publisher.ts';
import type { ShardContext } from './shard-context.ts';

export interface PublisherConnection {
  /** Whether what is written now gets to the broker. */
  isOpen(): boolean;
  /** False for a device that was cut off for good. */
  isWanted(): boolean;
  write(packet: Buffer): void;
}

export class PublisherState {
  readonly #context: ShardContext;
  readonly #connection: PublisherConnection;
  readonly #publishers: readonly Publisher[];
  readonly #outgoing = new OutgoingMessages();
  #isPublishing = false;
  /** Grows each time that it begins to speak: what was due before a silence is not said beside what is due after it. */
  #turn = 0;

  constructor(context: ShardContext, publishers: readonly Publisher[], connection: PublisherConnection) {
    this.#context = context;
    this.#publishers = publishers;
    this.#connection = connection;
  }

  /** Messages of QoS 1 without an acknowledgement. */
  get unacknowledged(): number {
    return this.#outgoing.unacknowledged;
  }

  /** Acknowledged sequence numbers by stream, as ranges. */
  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#publishers.map(({ stream, acknowledged }) => [stream, acknowledged.ranges]));
  }

  /** On a new connection: first what waits, then what is due from now on. */
  resume(now: number): void {
    this.#outgoing.resume((packet) => this.#connection.write(packet));
    if (this.#isPublishing || this.#context.isRunOver) return;
    this.#isPublishing = true;
    this.#turn += 1;
    for (const publisher of this.#publishers) this.#waitFor(publisher, publisher.start(now));
  }

  /** Says nothing new until it is resumed. */
  pause(): void {
    this.#isPublishing = false;
  }

  /** The power is gone, and with it what was not sent. */
  dropAll(): void {
    this.#isPublishing = false;
    this.#context.counters.count('dropped', this.#outgoing.clear());
  }

  acknowledge(packetId: number): void {
    const { counters, now } = this.#context;
    const message = this.#outgoing.acknowledge(packetId);
    if (message === undefined) return; // of a response, or of a connection before
    message.publisher.acknowledged.add(message.sequence);
    counters.count('acknowledged');
    counters.record('puback', now() - message.due);
    this.#outgoing.drain((packet) => this.#connection.write(packet));
  }

  #waitFor(publisher: Publisher, due: number | undefined): void {
    if (due === undefined) return;
    const turn = this.#turn;
    const slot = this.#context.timers.at(due, () => {
      if (turn !== this.#turn || !this.#isPublishing || this.#context.isRunOver || !this.#connection.isWanted()) return;
      this.#send(publisher.next(slot));
      this.#waitFor(publisher, publisher.nextDue());
    });
  }

  #send(message: Message): void {
    const { counters } = this.#context;
    const isOpen = this.#connection.isOpen();
    if (message.publisher.qos === 1) {
      counters.count('sent');
      counters.count('dropped', this.#outgoing.add(message));
      if (isOpen) this.#outgoing.drain((packet) => this.#connection.write(packet));
      return;
    }
    counters.count(isOpen ? 'sent' : 'dropped');
    if (isOpen) this.#connection.write(publishPacket(message.publisher.topic, message.payload, 0, 0));
  }
}
