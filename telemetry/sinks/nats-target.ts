/**
 * A target that is a JetStream stream of NATS: one message each, under a subject of its device, with an id by which the
 * server drops what it has already. Makes the stream if there is none.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import { type NatsConnection, nanos } from '@nats-io/transport-node';
import { connectToNats, type NatsCredentials } from '../../storage/index.ts';
import { findDuplicates } from './nats-duplicates.ts';
import { bytesOf, headersOf, idOf, subjectOf } from './nats-message.ts';
import type { SinkMessage } from './target.ts';
import { type RefusedMessage, type SinkSource, type Target, TargetDown } from './target.ts';
import { type TargetTls, type TlsMaterial, targetError } from './tls.ts';

export interface NatsTargetOptions extends NatsCredentials {
  /** `host:port`. */
  readonly server: string;
  readonly tls: TargetTls;
  readonly stream: string;
  /** First part of every subject. */
  readonly subject: string;
  readonly source: SinkSource;
  /** For connecting, and for one acknowledgement, in ms. */
  readonly timeout: number;
}

/** A message costs some 20 us, and the event loop is the one that serves devices. */
const SENT_PER_TURN = 32;

/** How long a stream that we make remembers ids. What is sent again after a longer outage is looked for in the stream. */
const REMEMBERS_MS = 3_600_000;

const NOTHING: ReadonlySet<SinkMessage> = new Set();

const STREAM_NOT_FOUND = 10_059;
/** "message size exceeds maximum allowed" */
const TOO_LARGE = 10_054;

export class NatsTarget implements Target {
  readonly #options: NatsTargetOptions;
  #connection: NatsConnection | undefined;
  #client: JetStreamClient | undefined;
  #manager: JetStreamManager | undefined;
  /** Of the stream: headers and payload; larger messages are refused by it. */
  #mostBytes = Number.POSITIVE_INFINITY;
  /** Some of the next batch may have arrived: an acknowledgement was lost, or a process of ours ended. */
  #isUncertain = true;
  /** Largest sequence in the stream that was acknowledged to us. */
  #acknowledged = 0;
  #material: TlsMaterial | undefined;

  constructor(options: NatsTargetOptions) {
    this.#options = options;
  }

  async deliver(messages: readonly SinkMessage[], signal: AbortSignal): Promise<readonly RefusedMessage[]> {
    try {
      const [connection, client] = await this.#connected();
      const most = connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
      const refused: RefusedMessage[] = [];
      const arrived = this.#isUncertain ? await this.#arrived(connection, messages) : NOTHING;
      this.#isUncertain = true;
      for (const wave of wavesOf(messages.filter((message) => !arrived.has(message)))) {
        const outcomes: Promise<RefusedMessage | undefined>[] = [];
        for (let start = 0; start < wave.length; start += SENT_PER_TURN) {
          if (start > 0) await nextTurn();
          if (signal.aborted) throw new TargetDown('stopped');
          for (const message of wave.slice(start, start + SENT_PER_TURN)) {
            const outcome = this.#publish(client, message, most);
            outcome.catch(() => {}); // it may fail before all of them are waited for
            outcomes.push(outcome);
          }
        }
        for (const outcome of await Promise.all(outcomes)) if (outcome !== undefined) refused.push(outcome);
      }
      this.#isUncertain = false;
      return inOrderOf(messages, refused);
    } catch (error) {
      await this.close();
      throw targetError(error);
    }
  }

  /** What was forwarded before is wanted a second time: it is not to be looked for. */
  replaying(): void {
    this.#isUncertain = false;
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#client = undefined;
    await connection?.close().catch(() => {});
  }

  async #connected(): Promise<readonly [NatsConnection, JetStreamClient]> {
    const { tls, timeout } = this.#options;
    const material = tls === 'none' ? undefined : tls();
    if (this.#connection !== undefined && this.#client !== undefined && !this.#connection.isClosed()) {
      if (material === this.#material) return [this.#connection, this.#client];
      await this.close();
    }
    const connection = await connectToNats({ ...this.#options, tls: material });
    this.#connection = connection;
    this.#material = material;
    await this.#prepareStream(connection);
    this.#client = jetstream(connection, { timeout });
    return [connection, this.#client];
  }

  async #prepareStream(connection: NatsConnection): Promise<void> {
    const { stream, subject, timeout } = this.#options;
    const manager = await jetstreamManager(connection, { timeout, checkAPI: false });
    this.#manager = manager;
    this.#mostBytes = Number.POSITIVE_INFINITY;
    try {
      const { max_msg_size } = (await manager.streams.info(stream)).config;
      if (max_msg_size > 0) this.#mostBytes = max_msg_size;
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== STREAM_NOT_FOUND) throw error;
      await manager.streams.add({
        name: stream,
        subjects: [`${subject}.>`],
        storage: StorageType.File,
        retention: RetentionPolicy.Limits,
        duplicate_window: nanos(REMEMBERS_MS),
      });
    }
  }

  /** An account that may not read its stream sends all of it again: then the stream's memory of ids is all there is. */
  async #arrived(connection: NatsConnection, messages: readonly SinkMessage[]): Promise<ReadonlySet<SinkMessage>> {
    const { stream } = this.#options;
    // What the stream refuses was not sent in vain: it has to be refused again, to become a dead letter.
    const fitting = messages.filter((message) => bytesOf(message) <= this.#mostBytes);
    try {
      return await findDuplicates({
        manager: this.#manager as JetStreamManager,
        stream,
        messages: fitting,
        after: this.#acknowledged,
        subjectOf: (message) => subjectOf(message, this.#options),
        idOf: (message) => idOf(message, this.#options),
      });
    } catch (error) {
      if (connection.isClosed()) throw error;
      return NOTHING;
    }
  }

  /** Undefined when it is stored, now or before. */
  async #publish(client: JetStreamClient, message: SinkMessage, most: number): Promise<RefusedMessage | undefined> {
    const { stream, timeout } = this.#options;
    const about = headersOf(message);
    if (bytesOf(message, about) > most) {
      return {
        message,
        reason: `expected at most ${most} bytes with its headers, found ${message.payload.byteLength}`,
      };
    }
    try {
      const { seq } = await client.publish(subjectOf(message, this.#options), message.payload, {
        msgID: idOf(message, this.#options),
        expect: { streamName: stream },
        headers: about,
        timeout,
      });
      this.#acknowledged = Math.max(this.#acknowledged, seq);
      return undefined;
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === TOO_LARGE) return { message, reason: error.message };
      throw error;
    }
  }
}

/**
 * Messages in groups, each with at most one of a device: those of a group are sent at once, and whichever of them fails,
 * no later one of the same device has arrived before it.
 */
function wavesOf(messages: readonly SinkMessage[]): readonly (readonly SinkMessage[])[] {
  const waves: SinkMessage[][] = [];
  const sent = new Map<string, number>();
  for (const message of messages) {
    const wave = sent.get(message.device) ?? 0;
    sent.set(message.device, wave + 1);
    const group = waves[wave];
    if (group === undefined) waves.push([message]);
    else group.push(message);
  }
  return waves;
}

function inOrderOf(messages: readonly SinkMessage[], refused: readonly RefusedMessage[]): readonly RefusedMessage[] {
  return [...refused].sort((a, b) => messages.indexOf(a.message) - messages.indexOf(b.message));
}
