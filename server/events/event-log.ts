/**
 * Records fleet events: queues them without making the caller wait, stores them as CloudEvents in a journal of their own, and notifies
 * listeners after the commit.
 */

import { randomBytes } from 'node:crypto';
import {
  formatIdentity,
  type Identity,
  identityName,
  isLifecycleType,
  LIFECYCLE_MEDIA_TYPE,
  type LifecycleEvent,
  type LifecycleType,
  type LifecycleValue,
  Problem,
  UNKNOWN_NAME,
} from '@rollcall/protocol';
import type { Logger } from 'pino';
import { GroupCommit } from '../../storage/index.ts';
import type { Cursor, Position, StoredMessage, Telemetry, TelemetryMessage } from '../../telemetry/index.ts';
import {
  type AdmittedEvent,
  EVENT_RATE_LIMITS,
  type EventCandidate,
  EventRateLimiter,
  type EventRateLimits,
} from './event-rate-limit.ts';

export interface FleetEvent {
  readonly type: LifecycleType;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The component that reports the event: `broker`, `registry`. */
  readonly component: string;
  /** The device or service of the event; undefined when it is unknown. */
  readonly subject?: Identity | undefined;
  readonly data: Readonly<Record<string, LifecycleValue>>;
}

/** A stored event. */
export interface StoredEvent {
  /** In the journal of events. */
  readonly position: Position;
  readonly cursor?: Cursor | undefined;
  readonly type: LifecycleType;
  /** The name of the device or service; `-` when it is unknown. */
  readonly name: string;
  /** The CloudEvent that services, operators and sinks receive, JSON. */
  readonly json: Uint8Array;
}

export interface EventFilter {
  /** A type, or its area: `presence.connected`, `presence`. */
  readonly type?: string | undefined;
  /** The name of a device or service. */
  readonly name?: string | undefined;
}

export interface EventRange extends EventFilter {
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** The number of newest events, 1 to 10,000. */
  readonly limit: number;
}

export interface NewestEvents {
  readonly type: LifecycleType;
  /** Of a device or service; `-` for none, undefined for all. */
  readonly name?: string | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Before this event. */
  readonly before?: Position | undefined;
  /** 1 to 10,000. */
  readonly limit: number;
}

export interface EventCounters {
  readonly recorded: number;
  /** Events that exceeded the rate limit. */
  readonly leftOut: number;
  /** Events that were lost because the queue was full or the journal failed. */
  readonly dropped: number;
  readonly waiting: number;
}

export interface EventLogOptions {
  readonly journal: Telemetry<string>;
  readonly trustDomain: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly rateLimits?: EventRateLimits;
  /** Events that may wait to be written. */
  readonly maxWaiting?: number;
}

/** About 25 MB: the events of fifty thousand devices that reconnect at once. */
const MAX_WAITING = 50_000;

/** Events encoded per turn of the event loop: about a millisecond. */
const CHUNK = 128;

const MAX_LIST = 10_000;

/** Bounds are on the number of events: what they hold is small, and the journal bounds the bytes that it queues. */
const COMMIT_LIMITS = { window: 0, queuedBytes: Number.POSITIVE_INFINITY, patience: 0, retryEvery: 0 };

/** Between two releases of held events. */
const HELD_RELEASE_MS = 1_000;

export class EventLog {
  readonly #options: EventLogOptions;
  readonly #rateLimiter: EventRateLimiter;
  readonly #maxWaiting: number;
  readonly #boot = randomBytes(6).toString('hex');
  /** Events by id that `store()` admitted and that are not stored yet. */
  readonly #unstored = new Map<string, AdmittedEvent>();
  readonly #commits: GroupCommit<AdmittedEvent>;
  #count = 0;
  #recorded = 0;
  #dropped = 0;
  #isDropping = false;
  #heldTimer: NodeJS.Timeout | undefined;

  constructor(options: EventLogOptions) {
    this.#options = options;
    this.#rateLimiter = new EventRateLimiter(options.rateLimits ?? EVENT_RATE_LIMITS);
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#commits = new GroupCommit({
      limits: COMMIT_LIMITS,
      now: options.now,
      afterPatience: 'discard',
      write: (events) => this.#write(events),
    });
  }

  /** Under which it is stored. */
  static nameOf({ subject }: FleetEvent): string {
    return subject === undefined ? UNKNOWN_NAME : identityName(subject);
  }

  /** Never waits and never throws. `source` is the key of the rate limit when it is not the subject, such as an address. */
  record(event: FleetEvent, source = sourceOf(event)): void {
    this.#count += 1;
    const admitted = this.#admit({ event, id: `${this.#boot}-${this.#count}`, isKeyed: false }, source);
    if (admitted !== undefined) this.#add(admitted);
  }

  /** Stores those held events whose sources have a budget again. */
  releaseHeld(now: number): void {
    for (const due of this.#rateLimiter.takeDue(now)) this.#add(due);
  }

  /**
   * Resolves when it is on disk, or left out or held by the rate limit of its device; an event with the same id is stored once.
   * Rejects with Problem `unavailable` when the journal cannot store it now.
   */
  async store(event: FleetEvent, id: string): Promise<void> {
    // A retried event was counted by the rate limit before.
    const admitted = this.#unstored.get(id) ?? this.#admit({ event, id, isKeyed: true }, sourceOf(event));
    if (admitted === undefined) return;
    this.#unstored.set(id, admitted);
    await this.#options.journal.accept(this.#messageOf(admitted));
    this.#unstored.delete(id);
    this.#recorded += 1;
  }

  /** Calls the listener after the commit, in the order of the journal. Returns a function that removes the listener. */
  follow(filter: EventFilter, listener: (event: StoredEvent) => void): () => void {
    const { journal } = this.#options;
    return journal.follow(filter.name, (message) => {
      const event = storedEvent(message);
      if (event !== undefined && matches(event.type, filter.type)) listener(event);
    });
  }

  /** Oldest first. Throws Problem `request_invalid` for an impossible limit or range. */
  async list({ type, name, since, until, limit }: EventRange): Promise<readonly StoredEvent[]> {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIST) {
      throw new Problem('request_invalid', {
        detail: `expected a limit of 1 to ${MAX_LIST}, found ${Number(limit)}`,
      });
    }
    const range = {
      ...(name !== undefined && { device: name }),
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
    };
    let newest: StoredEvent[] = [];
    for await (const page of this.#options.journal.pages(range)) {
      for (const message of page) {
        const event = storedEvent(message);
        if (event !== undefined && matches(event.type, type)) newest.push(event);
      }
      if (newest.length > limit) newest = newest.slice(-limit);
    }
    return newest;
  }

  /** What the journal covers; an event that is in the reserve alone is before it. */
  bounds(): ReturnType<Telemetry<string>['bounds']> {
    return this.#options.journal.bounds();
  }

  /** Events that a reader at `after` does not have, oldest first, in pages that are read on demand. */
  async *pages({ type, name }: EventFilter, after: Cursor): AsyncGenerator<readonly StoredEvent[]> {
    const isArea = type !== undefined && !isLifecycleType(type);
    const range = {
      after,
      ...(name !== undefined && { device: name }),
      ...(type !== undefined && !isArea && { stream: type }),
    };
    for await (const page of this.#options.journal.pages(range)) {
      const events = page.flatMap((message) => storedEvent(message) ?? []);
      yield isArea ? events.filter((event) => matches(event.type, type)) : events;
    }
  }

  /** The newest events of one type and name, oldest first. Unlike `list` it reads no others. Of the class `device` only. */
  async newest({ type, name, since, until, before, limit }: NewestEvents): Promise<readonly StoredEvent[]> {
    const { journal } = this.#options;
    const query = {
      ...{ stream: type, limit },
      ...(name !== undefined && { device: name }),
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
      ...(before !== undefined && { before }),
    };
    return (await journal.query(query)).flatMap((message) => storedEvent(message) ?? []);
  }

  counters(): EventCounters {
    return {
      recorded: this.#recorded,
      leftOut: this.#rateLimiter.total,
      dropped: this.#dropped,
      waiting: this.#commits.waitingEntries,
    };
  }

  /** Resolves when all events that wait now are stored. */
  flushed(): Promise<void> {
    return this.#commits.flush();
  }

  /** Stores waiting and held events, then closes the journal. */
  async close(): Promise<void> {
    clearTimeout(this.#heldTimer);
    for (const held of this.#rateLimiter.takeAll()) this.#add(held);
    await this.#commits.close();
    await this.#options.journal.close();
  }

  #admit(candidate: EventCandidate, source: string): AdmittedEvent | undefined {
    const admitted = this.#rateLimiter.admit(candidate, source);
    if (admitted === undefined && this.#rateLimiter.hasHeld) this.#releaseLater();
    return admitted;
  }

  #releaseLater(): void {
    this.#heldTimer ??= setTimeout(() => {
      this.#heldTimer = undefined;
      this.releaseHeld(this.#options.now());
      if (this.#rateLimiter.hasHeld) this.#releaseLater();
    }, HELD_RELEASE_MS).unref();
  }

  #add(admitted: AdmittedEvent): void {
    if (this.#commits.waitingEntries < this.#maxWaiting) this.#commits.add(admitted, 0);
    else this.#drop(1, 'more events wait than may');
  }

  /** Never rejects: events that the journal refuses are dropped and counted. */
  async #write(events: readonly AdmittedEvent[]): Promise<void> {
    const storing: Promise<unknown>[] = [];
    for (const [index, admitted] of events.entries()) {
      if (index > 0 && index % CHUNK === 0) await new Promise((resolve) => setImmediate(resolve));
      storing.push(this.#options.journal.accept(this.#messageOf(admitted)));
    }
    const outcomes = await Promise.allSettled(storing);
    const failures = outcomes.filter((outcome) => outcome.status === 'rejected');
    this.#recorded += events.length - failures.length;
    if (failures[0] === undefined) this.#isDropping = false;
    else this.#drop(failures.length, failures[0].reason);
  }

  #drop(count: number, why: unknown): void {
    this.#dropped += count;
    // Logged once until events are stored again.
    if (!this.#isDropping) {
      const reason = why instanceof Error ? why.message : why;
      this.#options.log.error({ reason, dropped: this.#dropped }, 'events are dropped');
    }
    this.#isDropping = true;
  }

  #messageOf({ event, id, isKeyed, leftOut }: AdmittedEvent): TelemetryMessage<string> {
    const { type, at, component, subject, data } = event;
    const cloudEvent: LifecycleEvent = {
      specversion: '1.0',
      id,
      type: `fleet.${type}`,
      source: `//${this.#options.trustDomain}/${component}`,
      ...(subject !== undefined && { subject: `${subject.kind}s/${identityName(subject)}` }),
      time: new Date(at).toISOString(),
      datacontenttype: 'application/json',
      data: leftOut === 0 ? data : { ...data, leftOut },
    };
    return {
      device: EventLog.nameOf(event),
      stream: type,
      receivedAt: at,
      // Any client can cause these: they are the first to be dropped when storage is behind.
      qos: type === 'presence.connect_failed' ? 0 : 1,
      payload: Buffer.from(JSON.stringify(cloudEvent)),
      contentType: LIFECYCLE_MEDIA_TYPE,
      ...(isKeyed && { key: id }),
    };
  }
}

/** The key of the rate limit. */
function sourceOf({ subject, data }: FleetEvent): string {
  return subject === undefined ? String(data.about ?? data.group ?? '') : formatIdentity(subject);
}

/** Returns undefined for an unknown type. */
function storedEvent({ position, cursor, stream, device, payload }: StoredMessage<string>): StoredEvent | undefined {
  return isLifecycleType(stream) ? { position, cursor, type: stream, name: device, json: payload } : undefined;
}

function matches(type: LifecycleType, wanted: string | undefined): boolean {
  return wanted === undefined || type === wanted || type.startsWith(`${wanted}.`);
}
