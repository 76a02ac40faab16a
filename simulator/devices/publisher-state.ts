/**
 * The messages of a light device: each is sent when it is due, and those of QoS 1 are stored until they are acknowledged.
 * The connection is only something to write to.
 */

import { encodePublish, type MqttVersion } from '@rollcall/device-sdk/mqtt-codec';
import { type AcceptedSession, OutgoingMessages } from './outgoing-messages.ts';
import { PublishSchedule } from './publish-schedule.ts';
import type { Message, Publisher } from './publisher.ts';
import { FIRST_ERROR } from './reason-codes.ts';
import type { ShardContext } from './shard-context.ts';

export interface PublisherConnection {
  readonly version: MqttVersion;
  /** True while packets that are written now reach the broker. */
  isOpen(): boolean;
  write(packet: Buffer): void;
}

export class PublisherState {
  readonly #context: ShardContext;
  readonly #connection: PublisherConnection;
  readonly #schedule: PublishSchedule;
  readonly #outgoing: OutgoingMessages;

  constructor(context: ShardContext, publishers: readonly Publisher[], connection: PublisherConnection) {
    this.#context = context;
    this.#connection = connection;
    this.#outgoing = new OutgoingMessages(connection.version);
    this.#schedule = new PublishSchedule(context, publishers, (message) => this.#send(message));
  }

  /** Messages of QoS 1 without an acknowledgement. */
  get unacknowledged(): number {
    return this.#outgoing.unacknowledged;
  }

  /** Acknowledged sequence numbers by stream, as ranges. */
  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return this.#schedule.acknowledged();
  }

  /** On a new connection: first what waits, then what is due from now on. */
  resume(now: number, session: AcceptedSession): void {
    this.#outgoing.resume((packet) => this.#connection.write(packet), session);
    this.#schedule.resume(now);
  }

  /** Publishes nothing new until it is resumed. */
  pause(): void {
    this.#schedule.pause();
  }

  /** Loses all messages that were not sent, as a device does that loses power. */
  dropAll(): void {
    this.#schedule.pause();
    this.#context.counters.count('dropped', this.#outgoing.clear());
  }

  /** A message that the broker rejects is not sent again (MQTT 5, section 4.3.2). */
  acknowledge(packetId: number, reasonCode: number): void {
    const { counters, now } = this.#context;
    if (reasonCode !== 0) counters.reason('puback', reasonCode);
    const message = this.#outgoing.acknowledge(packetId);
    if (message === undefined) return; // of a response, or of an earlier connection
    if (reasonCode >= FIRST_ERROR) counters.count('rejected');
    else {
      message.publisher.acknowledged.add(message.sequence);
      counters.count('acknowledged');
      counters.record('puback', now() - message.due);
    }
    this.#outgoing.drain((packet) => this.#connection.write(packet));
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
    if (!isOpen) return;
    const { topic, properties } = message.publisher;
    const { version } = this.#connection;
    this.#connection.write(
      encodePublish(version, { topic, payload: message.payload, qos: 0, packetId: 0, properties }),
    );
  }
}
