/**
 * Takes messages in, gathers them in batches, and has one batch after the other written. A promise settles only after the
 * commit of its batch. What storage can't take now is held and tried again, within a bound on bytes and on time; whoever
 * can stop reading is told. Does not know how a batch is written.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Accepted, TelemetryCounters, TelemetryMessage, Waiting } from './telemetry.ts';

export interface IntakeLimits {
  /** How long the first message of a batch waits for others, in ms. */
  readonly window: number;
  /** A batch is written at once when it holds so many messages, or so many bytes. */
  readonly batchMessages: number;
  readonly batchBytes: number;
  /** What may wait in all; beyond it messages are refused. Pressure begins at half of it, and ends at a quarter. */
  readonly queuedBytes: number;
  /** How long a batch is held while storage is full, busy or failing, in ms; and how often it is tried. */
  readonly patience: number;
  readonly retryEvery: number;
}

export const INTAKE_LIMITS: IntakeLimits = {
  window: 4,
  batchMessages: 1024,
  batchBytes: 1_048_576,
  queuedBytes: 64 * 1_048_576,
  patience: 30_000,
  retryEvery: 250,
};

export interface IntakeOptions {
  readonly limits: IntakeLimits;
  readonly now: () => number;
  readonly log: Logger;
  /**
   * Resolves with the indices of those that were stored before, once all are on disk. Rejects with Problem `unavailable`
   * when none is stored and the same may work later; with anything else when it is of no use to try again.
   */
  write(messages: readonly TelemetryMessage[]): Promise<{ readonly repeated: readonly number[] }>;
}

/** What a message weighs besides its payload. */
const MESSAGE_OVERHEAD = 256;

const LONGEST_KEY = 256;

const END_OF_TIME = Date.UTC(10_000, 0, 1);

const STORED = Promise.resolve<Accepted>('stored');

interface Batch {
  readonly messages: TelemetryMessage[];
  /** One promise for all of them: they share one fate. */
  readonly stored: Promise<Accepted>;
  readonly resolve: (outcome: Accepted) => void;
  readonly reject: (error: unknown) => void;
  /** Those who wait without a promise, in the order of their messages. */
  readonly waiting: Waiting[];
  /** Which of them wait for a message with a key: their places in `waiting`, by that of the message. */
  keyed: Map<number, number> | undefined;
  bytes: number;
  qos0: number;
  /** When it could not be written for the first time. */
  heldSince: number | undefined;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #limits: IntakeLimits;
  readonly #listeners = new Set<(isUnderPressure: boolean) => void>();
  readonly #counts = { stored: 0, storedQos0: 0, droppedQos0: 0, refused: 0, repeated: 0, commits: 0 };
  /** The batch that is gathering. */
  #open: Batch | undefined;
  #openTimer: NodeJS.Timeout | undefined;
  /** Waited long enough; gathers on only because another batch is being written. */
  #isOpenDue = false;
  /** Batches that are full. */
  #full: Batch[] = [];
  #writing: Batch | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #retry: (() => void) | undefined;
  #queuedBytes = 0;
  #isHolding = false;
  #isUnderPressure = false;
  #isClosed = false;
  #emptied: (() => void)[] = [];

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#limits = options.limits;
  }

  /** Rejects with Problem `internal` for a message that no journal can hold; it must not spoil the batch of others. */
  accept(message: TelemetryMessage): Promise<Accepted> {
    if (message.key !== undefined) return this.#acceptKeyed(message);
    const taken = this.#take(message);
    if (taken instanceof Problem) return Promise.reject(taken);
    return taken === undefined ? STORED : taken.stored;
  }

  /** The same without a promise for each message. */
  submit(message: TelemetryMessage, waiting: Waiting): void {
    const taken = this.#take(message);
    if (taken instanceof Problem) waiting.notStored(taken);
    else if (taken === undefined) waiting.stored();
    else if (message.key === undefined) taken.waiting.push(waiting);
    else this.#waitForKeyed(taken, message.qos === 0 ? new Indifferent(waiting) : waiting);
  }

  #acceptKeyed(message: TelemetryMessage): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      this.submit(message, {
        stored: () => resolve('stored'),
        repeated: () => resolve('repeated'),
        notStored: reject,
      });
    });
  }

  /** For the message that was taken last. */
  #waitForKeyed(batch: Batch, waiting: Waiting): void {
    batch.keyed ??= new Map();
    batch.keyed.set(batch.messages.length - 1, batch.waiting.length);
    batch.waiting.push(waiting);
  }

  /** The batch that a message shares its fate with; undefined for QoS 0 without a key, which nobody waits for. */
  #take(message: TelemetryMessage): Batch | Problem | undefined {
    if (this.#isClosed) return this.#refuse('the telemetry journal is closed');
    if (!isStorable(message)) {
      return new Problem('internal', { reason: 'expected a telemetry message, found another shape' });
    }
    const bytes = message.payload.byteLength + MESSAGE_OVERHEAD;
    const isQos0 = message.qos === 0;
    if (this.#queuedBytes + bytes > this.#limits.queuedBytes) {
      if (!isQos0) return this.#refuse(`more than ${this.#limits.queuedBytes} bytes wait to be stored`);
      this.#counts.droppedQos0 += 1;
      return undefined;
    }
    this.#open ??= this.#begin();
    const batch = this.#open;
    batch.messages.push(message);
    batch.bytes += bytes;
    if (isQos0) batch.qos0 += 1;
    this.#queuedBytes += bytes;
    if (batch.messages.length >= this.#limits.batchMessages || batch.bytes >= this.#limits.batchBytes) {
      this.#shut();
      this.#proceed();
    }
    if (!this.#isUnderPressure && this.#queuedBytes > this.#limits.queuedBytes / 2) this.#judgePressure();
    return isQos0 && message.key === undefined ? undefined : batch;
  }

  onPressure(listener: (isUnderPressure: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  counters(): Omit<TelemetryCounters, 'diskFreeBytes' | 'isDiskLow' | 'newestPosition' | 'heldDevices' | 'heldGroups'> {
    return { ...this.#counts, queuedBytes: this.#queuedBytes, isUnderPressure: this.#isUnderPressure };
  }

  /** Takes nothing more; resolves when everything that waited is written, or was refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#open !== undefined) this.#shut();
    this.#retryNow();
    this.#proceed();
    if (this.#writing !== undefined) await new Promise<void>((resolve) => this.#emptied.push(resolve));
  }

  #refuse(reason: string): Problem {
    this.#counts.refused += 1;
    return new Problem('unavailable', { reason });
  }

  #begin(): Batch {
    const { promise, resolve, reject } = Promise.withResolvers<Accepted>();
    promise.catch(() => {}); // a batch of QoS 0 has nobody who waits for it
    this.#isOpenDue = false;
    this.#openTimer = setTimeout(() => {
      this.#isOpenDue = true;
      this.#proceed();
    }, this.#limits.window);
    return {
      ...{ messages: [], stored: promise, resolve, reject, waiting: [], keyed: undefined },
      ...{ bytes: 0, qos0: 0, heldSince: undefined },
    };
  }

  /** No more messages for the open batch. */
  #shut(): void {
    clearTimeout(this.#openTimer);
    this.#full.push(this.#open as Batch);
    this.#open = undefined;
  }

  #proceed(): void {
    if (this.#writing !== undefined) return;
    if (this.#full.length === 0 && this.#open !== undefined && this.#isOpenDue) this.#shut();
    const batch = this.#full.shift();
    if (batch === undefined) {
      for (const resolve of this.#emptied.splice(0)) resolve();
      return;
    }
    this.#writing = batch;
    this.#write(batch);
  }

  #write(batch: Batch): void {
    this.#options.write(batch.messages).then(
      ({ repeated }) => {
        this.#isHolding = false;
        this.#finish(batch);
        this.#counts.stored += batch.messages.length - repeated.length;
        this.#counts.storedQos0 += batch.qos0;
        this.#counts.repeated += repeated.length;
        this.#counts.commits += 1;
        batch.resolve('stored');
        this.#tellStored(batch, repeated);
        this.#proceed();
      },
      (error: unknown) => this.#writeFailed(batch, error),
    );
  }

  #writeFailed(batch: Batch, error: unknown): void {
    const { log, now } = this.#options;
    const mayPass = error instanceof Problem && error.code === 'unavailable';
    batch.heldSince ??= now();
    const held = Math.abs(now() - batch.heldSince); // a clock that steps back must not hold it for ever
    if (mayPass && !this.#isClosed && held < this.#limits.patience) {
      if (!this.#isHolding) log.warn({ err: error, messages: batch.messages.length }, 'telemetry is held');
      this.#isHolding = true;
      this.#judgePressure();
      this.#retry = () => {
        this.#retry = undefined;
        this.#write(batch);
      };
      this.#retryTimer = setTimeout(this.#retry, this.#limits.retryEvery);
      return;
    }
    log.error({ err: error, messages: batch.messages.length }, 'telemetry not stored');
    this.#counts.refused += batch.messages.length - batch.qos0;
    this.#counts.droppedQos0 += batch.qos0;
    // With nothing left to try nobody would find out that storage works again.
    this.#isHolding = mayPass && (this.#full.length > 0 || this.#open !== undefined);
    this.#finish(batch);
    batch.reject(error);
    this.#tell(batch, (waiting) => waiting.notStored(error));
    this.#proceed();
  }

  #tellStored(batch: Batch, repeated: readonly number[]): void {
    const again = new Set(repeated.map((index) => batch.keyed?.get(index)));
    if (again.size === 0) this.#tell(batch, (waiting) => waiting.stored());
    else this.#tell(batch, (waiting, place) => (again.has(place) ? waiting.repeated() : waiting.stored()));
  }

  /** One that fails must not keep the others from hearing it. */
  #tell({ waiting }: Batch, tell: (waiting: Waiting, place: number) => void): void {
    for (let place = 0; place < waiting.length; place += 1) {
      try {
        tell(waiting[place] as Waiting, place);
      } catch (error) {
        this.#options.log.error({ err: error }, 'a message was stored or not, and who waited for it failed');
      }
    }
  }

  #retryNow(): void {
    clearTimeout(this.#retryTimer);
    this.#retry?.();
  }

  #finish(batch: Batch): void {
    this.#writing = undefined;
    this.#queuedBytes -= batch.bytes;
    if (this.#isUnderPressure !== this.#isHolding) this.#judgePressure();
  }

  #judgePressure(): void {
    const enough = this.#isUnderPressure ? this.#limits.queuedBytes / 4 : this.#limits.queuedBytes / 2;
    const isUnderPressure = this.#isHolding || this.#queuedBytes > enough;
    if (isUnderPressure === this.#isUnderPressure) return;
    this.#isUnderPressure = isUnderPressure;
    const fields = { queuedBytes: this.#queuedBytes };
    if (isUnderPressure) this.#options.log.warn(fields, 'telemetry is under pressure');
    else this.#options.log.info(fields, 'telemetry has caught up');
    for (const listener of this.#listeners) {
      try {
        listener(isUnderPressure);
      } catch (error) {
        this.#options.log.error({ err: error }, 'pressure listener failed');
      }
    }
  }
}

/** Waits for a message of QoS 0: that it isn't stored is nobody's business. */
class Indifferent implements Waiting {
  readonly #waiting: Waiting;

  constructor(waiting: Waiting) {
    this.#waiting = waiting;
  }

  stored(): void {
    this.#waiting.stored();
  }

  repeated(): void {
    this.#waiting.repeated();
  }

  notStored(): void {
    this.#waiting.stored();
  }
}

function isStorable(message: TelemetryMessage): boolean {
  const { device, stream, receivedAt, qos, payload, deviceTime, deviceSequence, key, contentType } = message;
  return (
    typeof device === 'string' &&
    typeof stream === 'string' &&
    Number.isSafeInteger(receivedAt) &&
    receivedAt >= 0 &&
    receivedAt < END_OF_TIME &&
    (qos === 0 || qos === 1 || qos === 2) &&
    payload instanceof Uint8Array &&
    (deviceTime === undefined || (deviceTime >= 0 && deviceTime < END_OF_TIME)) &&
    (deviceSequence === undefined || Number.isFinite(deviceSequence)) &&
    (key === undefined || (typeof key === 'string' && key.length > 0 && key.length <= LONGEST_KEY)) &&
    (contentType === undefined || (typeof contentType === 'string' && contentType.length <= LONGEST_KEY))
  );
}
