/**
 * Commands and reads of retained messages: each subscribes to the topic of its response, and ends with it. They use a connection of
 * their own, so that a handler of the first one can wait for a response.
 */

import { randomUUID } from 'node:crypto';
import { encodePayload, type Payload, type Schedule } from '@rollcall/device-sdk/building-blocks';
import { asTwinObject, commandTopic, type DeviceId, responseTopic, TRUST_BUNDLE_TOPIC } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt';
import type { BrokerConnection } from './broker-connection.ts';
import { ServiceError } from './service-error.ts';
import { Message } from './service-message.ts';

export interface CommandOptions {
  /** Milliseconds for connection, delivery and response together. Default 30,000. */
  readonly timeout?: number;
  /**
   * Seconds for which the broker holds the command for a device that is away. Default: the timeout, so that a device runs no command
   * whose sender has given up.
   */
  readonly expiry?: number;
}

interface Awaited {
  readonly topic: string;
  /** A message on this topic means that none comes. */
  readonly end?: string;
  /** Milliseconds. */
  readonly timeout: number;
  readonly qos?: 0 | 1;
}

const TIMEOUT_MS = 30_000;
/** Time for a retained message to arrive when the broker does not say that there is none. Milliseconds. */
const RETAINED_MS = 2_000;

export class Requests {
  readonly #connection: BrokerConnection;
  readonly #schedule: Schedule;
  #reading: Promise<unknown> = Promise.resolve();
  readonly #waiting = new Map<string, Set<(packet: IPublishPacket) => void>>();

  constructor(connection: BrokerConnection, schedule: Schedule) {
    this.#connection = connection;
    this.#schedule = schedule;
  }

  /** After CONNACK. A session that the broker has forgotten has no subscriptions. */
  connected(isResumed: boolean): void {
    if (isResumed) return;
    for (const topic of this.#waiting.keys()) void this.#subscribe(topic, 1).catch(() => {}); // the request ends with its time
  }

  /** A message of the connection. */
  received(packet: IPublishPacket): void {
    for (const hear of this.#waiting.get(packet.topic) ?? []) hear(packet);
  }

  async command(device: DeviceId, name: string, payload: Payload, options: CommandOptions): Promise<Message> {
    const { timeout = TIMEOUT_MS, expiry = Math.max(1, Math.ceil(timeout / 1_000)) } = options;
    const requestId = randomUUID();
    const topic = commandTopic(device, name, requestId);
    const bytes = encodePayload(payload);
    const response = await this.#await({ topic: responseTopic(device, requestId), timeout }, async () => {
      const properties = { messageExpiryInterval: expiry };
      await this.#connection.publish(topic, bytes, { qos: 1, properties, mustReach: true });
    });
    if (response === undefined) throw new ServiceError('timeout', { detail: `${name} of ${device}, ${timeout} ms` });
    const message = new Message(response);
    const error = errorOf(message);
    if (error !== undefined)
      throw new ServiceError('command_failed', { detail: `${name} of ${device}: ${error}`, reason: error });
    return message;
  }

  /** The retained message of a topic; undefined when there is none. One at a time. */
  retained(topic: string): Promise<Message | undefined> {
    const read = this.#reading.then(async () => {
      // The trust bundle is always retained. The broker sends retained messages of QoS 0 in the order of the subscriptions, so that it comes
      // after the one that is sought.
      const begin = () => this.#connection.subscribe(TRUST_BUNDLE_TOPIC, 0).catch(() => {}); // then the time decides
      const packet = await this.#await({ topic, end: TRUST_BUNDLE_TOPIC, timeout: RETAINED_MS, qos: 0 }, begin);
      return packet === undefined || packet.payload.length === 0 ? undefined : new Message(packet);
    });
    this.#reading = read.catch(() => {});
    return read;
  }

  /** The next message on a topic; undefined when one on `end` or none came in time. `begin` runs once the subscription was granted. */
  async #await(
    { topic, end, timeout, qos = 1 }: Awaited,
    begin: () => Promise<void>,
  ): Promise<IPublishPacket | undefined> {
    const ends: (() => void)[] = [];
    try {
      return await new Promise<IPublishPacket | undefined>((resolve, reject) => {
        ends.push(
          this.#schedule(timeout, () => resolve(undefined)),
          this.#hear(topic, resolve),
        );
        if (end !== undefined) ends.push(this.#hear(end, () => resolve(undefined)));
        this.#subscribe(topic, qos).then(begin).catch(reject);
      });
    } finally {
      for (const stop of ends) stop();
      for (const heard of [topic, end])
        if (heard !== undefined && !this.#waiting.has(heard)) await this.#connection.unsubscribe(heard);
    }
  }

  /** Waits for a connection, and for the next one when that is lost. Rejects with `connection_refused` and `subscription_refused`. */
  async #subscribe(topic: string, qos: 0 | 1): Promise<void> {
    for (;;) {
      await this.#connection.connected();
      try {
        await this.#connection.subscribe(topic, qos);
        return;
      } catch (error) {
        if ((error as ServiceError).code !== 'connection_lost') throw error;
      }
    }
  }

  #hear(topic: string, listener: (packet: IPublishPacket) => void): () => void {
    const listeners = this.#waiting.get(topic) ?? new Set();
    listeners.add(listener);
    this.#waiting.set(topic, listeners);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#waiting.delete(topic);
    };
  }
}

/** A device answers with `{"error": "..."}` and nothing else when it could not run the command (docs/twin.md). */
function errorOf(message: Message): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(message.text);
  } catch {
    return undefined;
  }
  const members = asTwinObject(value);
  return members !== undefined && Object.keys(members).length === 1 && typeof members.error === 'string'
    ? members.error
    : undefined;
}
