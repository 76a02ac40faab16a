/**
 * The outbox of a device with a directory: a message of QoS 1 is on disk before it is sent and until it is acknowledged.
 * How bytes get onto the disk is journal.ts, and what gives way to what, outbox-streams.ts. QoS 0 passes through memory.
 */

import { randomBytes } from 'node:crypto';
import { withKey } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';
import { type DeviceLog, SILENT_LOG } from './device-state.ts';
import { Journal } from './journal.ts';
import type { JournalFiles } from './journal-files.ts';
import { messageSize } from './journal-record.ts';
import type { RecoveredMessage } from './journal-recovery.ts';
import type { JournalEntry } from './journal-segment.ts';
import { expiresAt, hasExpired, withTimeLeft } from './message-expiry.ts';
import type { PacketProperties } from './mqtt-codec/index.ts';
import { DrainSignal, type NewMessage, type Outbox, type OutboxLimits, type OutboxStatus } from './outbox.ts';
import { OutboxStreams, type Stream, type TopicRules } from './outbox-streams.ts';
import { Delivery, messageKey, type Receipt } from './receipt.ts';
import { ReplayRateLimiter } from './replay-rate-limiter.ts';
import type { Schedule } from './schedule.ts';
import { type OutboxMessage, type Sendable, SendWindow } from './send-window.ts';

export interface DiskOutboxOptions {
  readonly files: JournalFiles;
  readonly limits: OutboxLimits;
  /** Bytes on disk of all waiting messages. The files take up to twice as much, and 2 MiB. */
  readonly bytes: number;
  /** Messages per second, of those that waited when a connection begins; 0: as fast as they go. */
  readonly replayRate: number;
  /** Of a topic without a key. */
  readonly rulesOf: (topic: string) => TopicRules;
  /** False for a recovered message that this device may not send: it was another one then. */
  readonly owns: (topic: string) => boolean;
  readonly now: () => number;
  readonly schedule: Schedule;
  readonly log?: DeviceLog;
  /** Default: an eighth of `bytes`, from 64 KiB to 1 MiB. */
  readonly segmentBytes?: number;
}

interface Entry extends Sendable {
  payload: Buffer;
  /** Uptime in milliseconds; undefined: never. */
  readonly expiresAt: number | undefined;
  /** Undefined for QoS 0. */
  readonly journalEntry: JournalEntry | undefined;
  readonly stream: Stream<Entry> | undefined;
  /** The payload is in memory; otherwise it is read when it is sent. */
  isLoaded: boolean;
  delivery: Delivery | undefined;
  readonly resolve?: (receipt: Receipt) => void;
  readonly reject?: (error: DeviceError) => void;
}

interface QueuedMessage {
  readonly stream: Stream<Entry>;
  /** As it is on disk. */
  readonly topic: string;
  readonly journalEntry: JournalEntry;
  readonly payload: Buffer;
  readonly properties: PacketProperties | undefined;
  readonly expiresAt: number | undefined;
}

const SEGMENT_MIN = 64 * 1024;
const SEGMENT_MAX = 1024 * 1024;
/** Payloads kept in memory beside the disk, so that a connected device doesn't read what it just wrote. */
const MEMORY_BYTES = 1024 * 1024;
const NOTHING = Buffer.alloc(0);

export class DiskOutbox implements Outbox {
  readonly #options: DiskOutboxOptions;
  readonly #log: DeviceLog;
  readonly #journal: Journal;
  readonly #window: SendWindow<Entry>;
  /** Of QoS 1, with those that are being written. */
  readonly #streams: OutboxStreams<Entry>;
  readonly #drain = new DrainSignal();
  #ready: () => void = () => {};
  #volatileMessages = 0;
  #volatileBytes = 0;
  readonly #volatileEpoch = randomBytes(6);
  #lastVolatile = 0;
  #loadedBytes = 0;
  #dropped = 0;
  #refused = 0;
  #expired = 0;
  #damaged = 0;
  #replayThrough = 0;
  readonly #replayLimiter: ReplayRateLimiter;
  #closing: Promise<void> | undefined;

  private constructor(options: DiskOutboxOptions) {
    this.#options = options;
    this.#log = options.log ?? SILENT_LOG;
    this.#window = new SendWindow(options.limits);
    this.#streams = new OutboxStreams({
      ...{ bytes: options.bytes, rulesOf: options.rulesOf },
      drop: (entry) => {
        this.#dropped += 1;
        this.#finish(entry, new DeviceError('message_dropped'));
      },
    });
    this.#replayLimiter = new ReplayRateLimiter(options);
    const eighth = Math.floor(options.bytes / 8);
    const segmentBytes = options.segmentBytes ?? Math.min(SEGMENT_MAX, Math.max(SEGMENT_MIN, eighth));
    const { files, now } = options;
    const { journal, messages, recovery } = Journal.open({ files, segmentBytes, now });
    this.#journal = journal;
    this.#damaged = recovery.damaged;
    if (recovery.damaged > 0) this.#log.warn(recovery, 'part of the queue could not be read');
    else if (recovery.messages > 0) this.#log.info(recovery, 'messages of an earlier run wait in the queue');
    for (const message of messages) this.#addRecovered(message);
  }

  /** Reads what an earlier run left. Throws what the file system throws when the directory can't be listed. */
  static open(options: DiskOutboxOptions): DiskOutbox {
    return new DiskOutbox(options);
  }

  get status(): OutboxStatus {
    const [dropped, refused, expired, damaged] = [this.#dropped, this.#refused, this.#expired, this.#damaged];
    return { messages: this.#open, bytes: this.#streams.bytes, dropped, refused, expired, damaged };
  }

  onReady(ready: () => void): void {
    this.#ready = ready;
  }

  /** Rejects with `outbox_full` when there is no room, and with `queue_unwritable` when it can't be put on disk. */
  add(message: NewMessage): Promise<Receipt> {
    if (this.#closing !== undefined) return Promise.reject(new DeviceError('closed'));
    return message.qos === 1 ? this.#store(message) : this.#addVolatile(message);
  }

  connectionOpened(receiveMaximum: number): void {
    this.#window.setMaximum(receiveMaximum);
    this.#replayThrough = this.#journal.lastSequence;
  }

  next(): OutboxMessage | undefined {
    for (let entry = this.#window.peek(); entry !== undefined; entry = this.#window.peek()) {
      if (!this.#maySendNow(entry)) return undefined;
      this.#window.next();
      const isExpired = hasExpired(entry.expiresAt);
      if (!isExpired && this.#load(entry)) {
        this.#addKey(entry);
        entry.properties = withTimeLeft(entry.properties, entry.expiresAt);
        return entry;
      }
      this.#window.remove(entry);
      if (isExpired) this.#expired += 1;
      else this.#damaged += 1;
      this.#finish(entry, new DeviceError(isExpired ? 'message_expired' : 'message_damaged'));
    }
    return undefined;
  }

  settle(message: OutboxMessage): boolean {
    const entry = message as Entry;
    if (!this.#window.settle(entry)) return false;
    this.#finish(entry, undefined);
    return true;
  }

  refuse(message: OutboxMessage, error: DeviceError): boolean {
    const entry = message as Entry;
    if (!this.#window.settle(entry)) return false;
    this.#refused += 1;
    this.#finish(entry, error);
    return true;
  }

  connectionLost(): void {
    this.#replayLimiter.stop();
    const { lost, givenUp } = this.#window.requeueUnacknowledged();
    for (const entry of lost) this.#finish(entry, new DeviceError('connection_lost'));
    for (const entry of givenUp) this.#finish(entry, new DeviceError('not_acknowledged'));
  }

  reservedIds(): readonly number[] {
    return this.#window.reservedIds();
  }

  drained(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(new DeviceError('closed'));
    return this.#open === 0 ? Promise.resolve() : this.#drain.wait();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  get #open(): number {
    return this.#streams.messages + this.#volatileMessages;
  }

  async #close(): Promise<void> {
    this.#replayLimiter.stop();
    const error = new DeviceError('closed');
    this.#drain.rejectAll(error);
    for (const entry of this.#window.drain()) {
      entry.reject?.(error);
      entry.delivery?.fail(error); // on disk it stays, and goes out the next time
    }
    await this.#journal.close();
  }

  async #store(message: NewMessage): Promise<Receipt> {
    const { topic, payload, properties } = message;
    const stream = this.#streams.streamOf(topic);
    if (!this.#streams.makeRoom(stream, messageSize({ topic, payload, properties }))) {
      const { messages, bytes } = this.#streams;
      throw new DeviceError('outbox_full', { reason: `${messages} messages, ${bytes} bytes on disk` });
    }
    const { entry: journalEntry, stored } = this.#journal.append({ topic, payload, properties });
    const ends = expiresAt(properties, 0);
    const entry = this.#addEntry({ stream, topic, journalEntry, payload, properties, expiresAt: ends });
    const delivery = new Delivery(journalEntry.epoch, journalEntry.sequence, topic);
    entry.delivery = delivery;
    try {
      await stored;
    } catch (error) {
      this.#removeEntry(entry);
      const reason = (error as NodeJS.ErrnoException).code ?? 'unknown';
      this.#log.warn({ code: reason }, 'message not stored');
      throw new DeviceError('queue_unwritable', { reason, cause: error });
    }
    if (this.#closing !== undefined) delivery.fail(new DeviceError('closed'));
    else this.#addStored(stream, entry);
    return delivery;
  }

  #addStored(stream: Stream<Entry>, entry: Entry): void {
    entry.state = 'waiting';
    this.#streams.dropOlder(stream, entry);
    if (this.#loadedBytes > MEMORY_BYTES) this.#unload(entry);
    this.#window.push(entry);
    this.#ready();
  }

  #addRecovered({ entry: journalEntry, topic, queuedAt, messageExpiryInterval }: RecoveredMessage): void {
    const stream = this.#streams.streamOf(topic);
    const queuedFor = this.#options.now() - queuedAt;
    const ends = messageExpiryInterval === undefined ? undefined : expiresAt({ messageExpiryInterval }, queuedFor);
    const recovered = { stream, topic, journalEntry, payload: NOTHING, properties: undefined, expiresAt: ends };
    const entry = this.#addEntry(recovered);
    entry.isLoaded = false;
    if (!this.#options.owns(topic)) {
      this.#removeEntry(entry);
      this.#journal.settle(journalEntry);
      this.#dropped += 1;
      return;
    }
    entry.state = 'waiting';
    this.#window.push(entry);
  }

  #addVolatile({ topic, payload, properties, priority = 'normal' }: NewMessage): Promise<Receipt> {
    const { limits } = this.#options;
    if (this.#volatileMessages >= limits.messages || this.#volatileBytes + payload.length > limits.bytes) {
      const reason = `${this.#volatileMessages} messages of QoS 0, ${this.#volatileBytes} bytes of payload`;
      return Promise.reject(new DeviceError('outbox_full', { reason }));
    }
    this.#volatileMessages += 1;
    this.#volatileBytes += payload.length;
    this.#lastVolatile += 1;
    const delivery = new Delivery(this.#volatileEpoch, this.#lastVolatile, topic);
    return new Promise((resolve, reject) => {
      const entry: Entry = {
        ...{ topic, payload, priority, qos: 0, packetId: 0, sends: 0, state: 'waiting', isLoaded: true },
        ...{ properties, expiresAt: expiresAt(properties, 0) },
        ...{ journalEntry: undefined, stream: undefined, delivery, resolve, reject },
      };
      this.#window.push(entry);
      this.#ready();
    });
  }

  /** A place for it in the books; it can't be sent or dropped before it is `waiting`. */
  #addEntry({ stream, topic, journalEntry, payload, properties, expiresAt: ends }: QueuedMessage): Entry {
    const { priority = 'normal', retain = false } = stream.rules;
    // One plain literal: unless the bundle is minified, Node 20 takes microseconds to put it together of two that are spread.
    const entry: Entry = {
      topic: topic === stream.topic ? stream.topic : topic, // one text for all of a stream
      payload,
      priority,
      retain,
      properties,
      expiresAt: ends,
      qos: 1,
      packetId: 0,
      sends: 0,
      state: 'in flight',
      isLoaded: true,
      journalEntry,
      stream,
      delivery: undefined,
    };
    this.#streams.add(stream, entry, journalEntry);
    this.#loadedBytes += payload.length;
    return entry;
  }

  #removeEntry(entry: Entry): void {
    entry.state = 'gone';
    const { journalEntry, stream } = entry;
    if (journalEntry === undefined || stream === undefined) {
      this.#volatileMessages -= 1;
      this.#volatileBytes -= entry.payload.length;
    } else {
      this.#unload(entry);
      this.#streams.remove(stream, journalEntry);
    }
    if (this.#open === 0) this.#drain.resolveAll();
  }

  /** Acknowledged, or with `error` given up: in either case it is never sent again. */
  #finish(entry: Entry, error: DeviceError | undefined): void {
    if (entry.journalEntry !== undefined) this.#journal.settle(entry.journalEntry);
    this.#removeEntry(entry);
    if (error === undefined) {
      entry.delivery?.acknowledge();
      if (entry.delivery !== undefined) entry.resolve?.(entry.delivery);
    } else {
      entry.delivery?.fail(error);
      entry.reject?.(error);
    }
  }

  /** As late as this: a backlog of many messages shares one topic. */
  #addKey(entry: Entry): void {
    const { journalEntry, stream } = entry;
    if (journalEntry === undefined || stream?.rules.isKeyed !== true || entry.topic !== stream.topic) return;
    entry.topic = withKey(stream.topic, messageKey(journalEntry.epoch, journalEntry.sequence));
  }

  #load(entry: Entry): boolean {
    if (entry.isLoaded || entry.journalEntry === undefined) return true;
    const stored = this.#journal.read(entry.journalEntry);
    if (stored === undefined) return false;
    entry.payload = stored.payload;
    entry.properties = stored.properties;
    entry.isLoaded = true;
    this.#loadedBytes += entry.payload.length;
    return true;
  }

  #unload(entry: Entry): void {
    if (!entry.isLoaded) return;
    this.#loadedBytes -= entry.payload.length;
    entry.payload = NOTHING;
    entry.properties = undefined;
    entry.isLoaded = false;
  }

  /** Paces what waited when the connection began: a fleet comes back with its backlog all at once. */
  #maySendNow({ journalEntry }: Entry): boolean {
    return (
      journalEntry === undefined ||
      journalEntry.sequence > this.#replayThrough ||
      this.#replayLimiter.allows(this.#ready)
    );
  }
}
