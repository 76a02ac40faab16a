/**
 * What a device of a swarm says: each message when it is due, those of QoS 1 kept until they are acknowledged. It knows its
 * connection only as something to write to.
 */

import { publishPacket } from './mqtt-packets.ts';
import { Outgoing } from './outgoing.ts';
import type { Message, Publisher } from './publisher.ts';
import type { Crew } from './shard-context.ts';

export interface Mouth {
  /** Whether what is written now gets to the broker. */
  isOpen(): boolean;
  /** False for a device that was cut off for good. */
  isWanted(): boolean;
  write(packet: Buffer): void;
}

export class Speech {
  readonly #crew: Crew;
  readonly #mouth: Mouth;
  readonly #publishers: readonly Publisher[];
  readonly #outgoing = new Outgoing();
  #isSpeaking = false;
  /** Grows each time that it begins to speak: what was due before a silence is not said beside what is due after it. */
  #turn = 0;

  constructor(crew: Crew, publishers: readonly Publisher[], mouth: Mouth) {
    this.#crew = crew;
    this.#publishers = publishers;
    this.#mouth = mouth;
  }

  /** Messages of QoS 1 without an acknowledgement. */
  get waiting(): number {
    return this.#outgoing.waiting;
  }

  /** Acknowledged sequence numbers by stream, as ranges. */
  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#publishers.map(({ stream, acknowledged }) => [stream, acknowledged.ranges]));
  }

  /** On a new connection: first what waits, then what is due from now on. */
  resume(now: number): void {
    this.#outgoing.resume((packet) => this.#mouth.write(packet));
    if (this.#isSpeaking || this.#crew.isOver) return;
    this.#isSpeaking = true;
    this.#turn += 1;
    for (const publisher of this.#publishers) this.#waitFor(publisher, publisher.begin(now));
  }

  /** Says nothing new until it is resumed. */
  fallSilent(): void {
    this.#isSpeaking = false;
  }

  /** The power is gone, and with it what was not sent. */
  forget(): void {
    this.#isSpeaking = false;
    this.#crew.tally.count('dropped', this.#outgoing.forget());
  }

  acknowledge(packetId: number): void {
    const { tally, now } = this.#crew;
    const message = this.#outgoing.acknowledge(packetId);
    if (message === undefined) return; // of a response, or of a connection before
    message.publisher.acknowledged.add(message.sequence);
    tally.count('acknowledged');
    tally.record('puback', now() - message.due);
    this.#outgoing.drain((packet) => this.#mouth.write(packet));
  }

  #waitFor(publisher: Publisher, due: number | undefined): void {
    if (due === undefined) return;
    const turn = this.#turn;
    const slot = this.#crew.agenda.at(due, () => {
      if (turn !== this.#turn || !this.#isSpeaking || this.#crew.isOver || !this.#mouth.isWanted()) return;
      this.#send(publisher.next(slot));
      this.#waitFor(publisher, publisher.following());
    });
  }

  #send(message: Message): void {
    const { tally } = this.#crew;
    const isOpen = this.#mouth.isOpen();
    if (message.publisher.qos === 1) {
      tally.count('sent');
      tally.count('dropped', this.#outgoing.add(message));
      if (isOpen) this.#outgoing.drain((packet) => this.#mouth.write(packet));
      return;
    }
    tally.count(isOpen ? 'sent' : 'dropped');
    if (isOpen) this.#mouth.write(publishPacket(message.publisher.topic, message.payload, 0, 0));
  }
}
