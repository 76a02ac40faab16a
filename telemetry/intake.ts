/**
 * Takes messages in and has them written by group commit. A promise settles only after the commit of its batch. Refuses what
 * storage can't take, and reports pressure to listeners that can stop reading.
 */

import { type DeviceId, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  GroupCommit,
  type GroupCommitLimits,
  MAX_PROPERTIES_BYTES,
  propertiesLength,
  propertiesMemory,
} from '../storage/index.ts';
import type { AcceptCallbacks, Accepted, TelemetryCounters, TelemetryMessage } from './telemetry.ts';

export type IntakeLimits = Omit<Required<GroupCommitLimits>, 'idleWindow' | 'inFlight'> &
  Pick<GroupCommitLimits, 'inFlight'>;

export const INTAKE_LIMITS: IntakeLimits = {
  window: 4,
  batchEntries: 1024,
  batchBytes: 1_048_576,
  queuedBytes: 64 * 1_048_576,
  patience: 30_000,
  retryEvery: 250,
};

export type IntakeCounters = Omit<
  TelemetryCounters,
  'diskFreeBytes' | 'isDiskLow' | 'newest' | 'heldDevices' | 'heldGroups'
>;

export const NOTHING_COUNTED: IntakeCounters = {
  stored: 0,
  storedQos0: 0,
  droppedQos0: 0,
  refused: 0,
  repeated: 0,
  commits: 0,
  queuedBytes: 0,
  isUnderPressure: false,
  isHeld: false,
};

/** Indices of the messages of a batch that were stored before. */
interface Written {
  readonly repeated: readonly number[];
}

export interface IntakeOptions<Source extends string> {
  readonly limits: IntakeLimits;
  readonly now: () => number;
  readonly log: Logger;
  /**
   * Resolves once all are on disk. Rejects with Problem `unavailable` when none is stored and the same may work later; with
   * anything else when it is of no use to try again.
   */
  write(messages: readonly TelemetryMessage<Source>[]): Promise<Written>;
  /** A batch was refused: it will not be written again, and neither will those that were written after it. */
  discarded?(): void;
  /** Called at each commit, with the seconds since its first message was received. */
  observeCommit?(seconds: number): void;
  /** Whether the same write may succeed later; Problem `unavailable` when left out. */
  isTransient?(error: unknown): boolean;
}

/** Bytes that a message is counted with besides its payload and its MQTT 5 properties. */
const MESSAGE_OVERHEAD = 256;

const LONGEST_KEY = 256;

const END_OF_TIME = Date.UTC(10_000, 0, 1);

const STORED = Promise.resolve<Accepted>('stored');

export class Intake<Source extends string = DeviceId> {
  readonly #limits: IntakeLimits;
  readonly #log: Logger;
  readonly #observeCommit: (messages: readonly TelemetryMessage<Source>[]) => void;
  readonly #commits: GroupCommit<TelemetryMessage<Source>, AcceptCallbacks, Written>;
  readonly #listeners = new Set<(isUnderPressure: boolean) => void>();
  readonly #counts = { stored: 0, storedQos0: 0, droppedQos0: 0, refused: 0, repeated: 0 };
  /** Of the batch that `accept()` added to last, and what its callers get. */
  #durable: Promise<void> | undefined;
  #stored: Promise<Accepted> = STORED;

  constructor({ limits, now, log, write, discarded, observeCommit, isTransient }: IntakeOptions<Source>) {
    this.#limits = limits;
    this.#log = log;
    // The system's clock may be set back meanwhile.
    this.#observeCommit = ([first]) => observeCommit?.(Math.max(0, now() - (first?.receivedAt ?? 0)) / 1_000);
    this.#commits = new GroupCommit({
      limits,
      now,
      afterPatience: 'discard',
      write,
      ...(isTransient !== undefined && { isTransient }),
      committed: (messages, waiters, { repeated }) => this.#committed(messages, waiters, repeated),
      discarded: (messages, waiters, error) => {
        discarded?.();
        this.#discarded(messages, waiters, error);
      },
      held: (messages, error) => log.warn({ err: error, messages: messages.length }, 'telemetry is held'),
      pressureChanged: (isUnderPressure) => this.#tellPressure(isUnderPressure),
    });
  }

  /** Rejects with Problem `internal` for a message that no journal can hold; it must not spoil the batch of others. */
  accept(message: TelemetryMessage<Source>): Promise<Accepted> {
    if (message.key !== undefined) return this.#acceptKeyed(message);
    const outcome = this.#add(message, undefined);
    if (outcome instanceof Problem) return Promise.reject(outcome);
    return message.qos === 0 ? STORED : this.#untilStored();
  }

  /** The same without a promise for each message. */
  submit(message: TelemetryMessage<Source>, waiting: AcceptCallbacks): void {
    const isAwaited = message.qos > 0 || message.key !== undefined;
    const outcome = this.#add(message, isAwaited ? waiterOf(message, waiting) : undefined);
    if (outcome instanceof Problem) waiting.notStored(outcome);
    else if (!isAwaited || outcome === 'dropped') waiting.stored();
  }

  onPressure(listener: (isUnderPressure: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Resolves when everything accepted so far is stored or refused. */
  settled(): Promise<void> {
    return this.#commits.durable().catch(() => {}); // those that wait for it are told
  }

  counters(): IntakeCounters {
    const { commits, queuedBytes, isUnderPressure, isHolding } = this.#commits;
    return { ...this.#counts, commits, queuedBytes, isUnderPressure, isHeld: isHolding };
  }

  /** Accepts nothing more; resolves when everything that waited is written or refused. */
  close(): Promise<void> {
    return this.#commits.close();
  }

  #acceptKeyed(message: TelemetryMessage<Source>): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      this.submit(message, {
        stored: () => resolve('stored'),
        repeated: () => resolve('repeated'),
        notStored: reject,
      });
    });
  }

  /** One promise for all messages of a batch. */
  #untilStored(): Promise<Accepted> {
    const durable = this.#commits.durable();
    if (durable !== this.#durable) {
      this.#durable = durable;
      this.#stored = durable.then(() => 'stored');
    }
    return this.#stored;
  }

  /** QoS 0 is dropped where others are refused. */
  #add(message: TelemetryMessage<Source>, waiter: AcceptCallbacks | undefined): 'added' | 'dropped' | Problem {
    if (this.#commits.isClosed) return this.#refuse('the telemetry journal is closed');
    if (!isStorable(message)) {
      return new Problem('internal', { reason: 'expected a telemetry message, found another shape' });
    }
    const bytes = message.payload.byteLength + MESSAGE_OVERHEAD + propertiesMemory(message);
    if (this.#commits.hasRoomFor(bytes)) {
      this.#commits.add(message, bytes, waiter);
      return 'added';
    }
    if (message.qos > 0) return this.#refuse(`more than ${this.#limits.queuedBytes} bytes wait to be stored`);
    this.#counts.droppedQos0 += 1;
    return 'dropped';
  }

  #refuse(reason: string): Problem {
    this.#counts.refused += 1;
    return new Problem('unavailable', { reason });
  }

  #committed(
    messages: readonly TelemetryMessage<Source>[],
    waiters: readonly (AcceptCallbacks | undefined)[],
    repeated: readonly number[],
  ): void {
    this.#counts.stored += messages.length - repeated.length;
    this.#counts.storedQos0 += qos0In(messages);
    this.#counts.repeated += repeated.length;
    const again = repeated.length === 0 ? undefined : new Set(repeated);
    this.#tell(waiters, (waiter, index) => (again?.has(index) === true ? waiter.repeated() : waiter.stored()));
    this.#observeCommit(messages);
  }

  #discarded(
    messages: readonly TelemetryMessage<Source>[],
    waiters: readonly (AcceptCallbacks | undefined)[],
    error: unknown,
  ): void {
    this.#log.error({ err: error, messages: messages.length }, 'telemetry not stored');
    const qos0 = qos0In(messages);
    this.#counts.refused += messages.length - qos0;
    this.#counts.droppedQos0 += qos0;
    this.#tell(waiters, (waiter) => waiter.notStored(error));
  }

  /** A callback that throws must not keep the others from being called. */
  #tell(
    waiters: readonly (AcceptCallbacks | undefined)[],
    tell: (waiter: AcceptCallbacks, index: number) => void,
  ): void {
    for (let index = 0; index < waiters.length; index += 1) {
      const waiter = waiters[index];
      if (waiter === undefined) continue;
      try {
        tell(waiter, index);
      } catch (error) {
        this.#log.error({ err: error }, 'the callback of a stored or refused message failed');
      }
    }
  }

  #tellPressure(isUnderPressure: boolean): void {
    const fields = { queuedBytes: this.#commits.queuedBytes };
    if (isUnderPressure) this.#log.warn(fields, 'telemetry is under pressure');
    else this.#log.info(fields, 'telemetry has caught up');
    for (const listener of this.#listeners) {
      try {
        listener(isUnderPressure);
      } catch (error) {
        this.#log.error({ err: error }, 'pressure listener failed');
      }
    }
  }
}

function waiterOf({ qos }: TelemetryMessage<string>, waiting: AcceptCallbacks): AcceptCallbacks {
  return qos === 0 ? new Qos0Waiter(waiting) : waiting;
}

function qos0In(messages: readonly TelemetryMessage<string>[]): number {
  let count = 0;
  for (const { qos } of messages) if (qos === 0) count += 1;
  return count;
}

/** Waits for a message of QoS 0 with a key: it is acknowledged to its device whether it is stored or not. */
class Qos0Waiter implements AcceptCallbacks {
  readonly #waiting: AcceptCallbacks;

  constructor(waiting: AcceptCallbacks) {
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

function isStorable(message: TelemetryMessage<string>): boolean {
  const { device, stream, receivedAt, qos, payload, deviceTime, deviceSequence, key } = message;
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
    areStorable(message)
  );
}

function areStorable(message: TelemetryMessage<string>): boolean {
  const { payloadFormatIndicator, contentType, userProperties } = message;
  if (payloadFormatIndicator !== undefined && payloadFormatIndicator !== 0 && payloadFormatIndicator !== 1)
    return false;
  if (contentType === undefined && userProperties === undefined) return true;
  return (
    (contentType === undefined || typeof contentType === 'string') &&
    (userProperties === undefined || (Array.isArray(userProperties) && userProperties.every(isUserProperty))) &&
    propertiesLength(message) <= MAX_PROPERTIES_BYTES
  );
}

function isUserProperty(property: unknown): boolean {
  return Array.isArray(property) && property.length === 2 && property.every((text) => typeof text === 'string');
}
