/**
 * Wills: each is on disk before its connection is accepted, and is published when the connection has ended without a DISCONNECT of the
 * client and its Will Delay Interval has passed or its session has ended (MQTT 5, 3.1.3.2.2). One that is waiting is cancelled when its
 * client resumes the session. The wait survives a restart of the server.
 *
 * Waits are measured by the monotonic clock: a step of the wall clock neither publishes a will nor holds it back. A limited number is
 * published at a time. A will is removed from the disk after its publication: a crash in between repeats it.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Subject } from '../access/acl.ts';
import { waitAtMost } from '../deadline.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { WillRecord } from '../session-store/will-records.ts';
import { DueQueue } from './due-queue.ts';
import { OwnedWills, type WillAbout, type WillStore } from './owned-wills.ts';

/** A will whose connection has ended. */
export interface DueWill {
  readonly clientId: string;
  readonly message: WillMessage;
  readonly about: WillAbout;
  /** Its owner was revoked or suspended since its publication began: it must not be delivered any more. */
  readonly isDropped: boolean;
}

export interface WillsOptions {
  readonly store: WillStore;
  /** How long after a start clients may take to reconnect before wills of an earlier run are published, in ms. */
  readonly gracePeriod: number;
  readonly now: () => number;
  readonly log: Logger;
  /** Seconds for which the stored session of a client outlives its connection; undefined: it has none. */
  sessionExpiryOf(clientId: string): number | undefined;
  /**
   * Decides with the rights of now, stores and delivers; a refused will is no error. It hands the message to the storage in the turn of
   * the call, so that messages of the client's next connection come after it. After a Problem `unavailable` it is called again later.
   */
  publish(will: DueWill): Promise<void>;
}

/** Wills that are being published, at most. A client that reconnects does not wait for the others. */
const PUBLISHED_AT_ONCE = 50;

/** Between attempts to publish a will, and between log lines about those that failed. */
const RETRY_MS = 10_000;

/** How long a new connection waits for the will of the former one. */
const RECONNECTION_WAIT_MS = 1_000;

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

class PendingWill implements DueWill {
  readonly clientId: string;
  readonly isDelayed: boolean;
  message: WillRecord;
  /** By the monotonic clock. */
  dueAt: number;
  position = -1;
  isDropped = false;
  /** False: its client is connected again, so that a failure is final. */
  mayRetry = true;
  publication: Promise<void> | undefined;

  constructor(clientId: string, message: WillRecord, wait: number, isDelayed: boolean) {
    this.clientId = clientId;
    this.message = message;
    this.dueAt = performance.now() + wait;
    this.isDelayed = isDelayed;
  }

  get about(): WillAbout {
    return JSON.parse(this.message.about) as WillAbout;
  }
}

export class Wills {
  readonly #options: WillsOptions;
  readonly #wills: OwnedWills;
  /** Wills that wait, by client id. */
  readonly #waiting = new Map<string, PendingWill>();
  readonly #due = new DueQueue<PendingWill>();
  readonly #published = new Map<string, PendingWill>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = 0;
  #immediate: NodeJS.Immediate | undefined;
  #isStopped = false;
  #failed = 0;
  #failureLoggedAt = Number.NEGATIVE_INFINITY;

  /** The sessions of an earlier run are loaded. */
  constructor(options: WillsOptions) {
    this.#options = options;
    this.#wills = new OwnedWills(options.store);
    for (const [clientId, will] of this.#wills.all()) this.#add(this.#ofEarlierRun(clientId, will));
    this.#schedule();
  }

  /** Waits with wills that the store has loaded from another node, as with those of an earlier run. */
  adopt(clientIds: Iterable<string>): void {
    for (const clientId of clientIds) {
      const will = this.#wills.adopt(clientId);
      if (will !== undefined && !this.#waiting.has(clientId)) this.#add(this.#ofEarlierRun(clientId, will));
    }
    this.#schedule();
  }

  /** Another node has the client's will from now on. Resolves when one that is being published is. */
  async forget(clientId: string): Promise<void> {
    await this.#published.get(clientId)?.publication;
    this.#forget(clientId);
    this.#wills.forget(clientId);
  }

  /** Wills that wait or are being published. */
  get pendingCount(): number {
    return this.#waiting.size + this.#published.size;
  }

  /** Owners of any will, those of connected clients included. */
  owners(): Iterable<string> {
    return this.#wills.owners();
  }

  /** A connection with a will is about to be accepted; it may be when this resolves. Rejects with Problem `unavailable`. */
  async put(clientId: string, will: WillMessage, about: WillAbout): Promise<void> {
    this.#wills.put(clientId, will, about);
    this.#forget(clientId);
    await this.#wills.durable();
  }

  /**
   * To be called once for each connection, before `reconnected` for the next one of its client. `publishes`: false after a DISCONNECT with
   * reason code 0 [MQTT-3.14.4-3] and after a revocation: the will is removed. `sessionExpiryInterval`: seconds, as DISCONNECT left it.
   * After `stop()` a will without a delay is removed too: all clients of a server that restarts reconnect.
   */
  connectionEnded(
    clientId: string,
    { publishes, sessionExpiryInterval }: { readonly publishes: boolean; readonly sessionExpiryInterval: number },
  ): void {
    const will = this.#wills.get(clientId);
    // A connection without a will may end while that of the connection before is still being published.
    if (will === undefined || this.#published.get(clientId)?.message === will) return;
    const seconds = Math.min(will.delayInterval, sessionExpiryInterval);
    this.#forget(clientId);
    if (!publishes || (this.#isStopped && seconds === 0)) {
      this.#wills.remove(clientId);
      return;
    }
    const wait = seconds * 1000;
    const stored = seconds === 0 ? will : (this.#wills.setDue(clientId, this.#options.now() + wait) ?? will);
    this.#add(new PendingWill(clientId, stored, wait, seconds > 0));
    this.#schedule();
  }

  /**
   * A client has a new connection. Cancels a will that waits for its delay if the client resumes the session [MQTT-3.1.3-9]; publishes any
   * other first, so that no old "offline" follows a new "online". Resolves when CONNACK may be sent.
   */
  async reconnected(clientId: string, { resumes }: { readonly resumes: boolean }): Promise<void> {
    const waiting = this.#waiting.get(clientId);
    if (waiting !== undefined) {
      this.#forget(clientId);
      if (resumes && waiting.isDelayed && waiting.dueAt > performance.now()) {
        this.#wills.remove(clientId);
        await this.#wills.durable();
      } else this.#publish(waiting);
    }
    const published = this.#published.get(clientId);
    if (published?.publication === undefined) return;
    published.mayRetry = false;
    await waitAtMost(RECONNECTION_WAIT_MS, published.publication);
  }

  /** A session without a connection has ended: it has expired or was removed. Its will does not wait any longer. */
  sessionEnded(clientId: string): void {
    const waiting = this.#waiting.get(clientId);
    if (waiting === undefined) return;
    this.#forget(clientId);
    waiting.dueAt = performance.now();
    this.#add(waiting);
    this.#schedule();
  }

  /** The subject of an owner has changed: its group, its labels, or its quarantine. Its wills are decided with the new one. */
  setSubject(owner: string, subject: Subject): void {
    for (const clientId of this.#wills.ofOwner(owner)) {
      const former = this.#wills.get(clientId);
      const will = this.#wills.setAbout(clientId, { owner, subject });
      if (former === undefined || will === undefined) continue;
      for (const pending of [this.#waiting.get(clientId), this.#published.get(clientId)]) {
        if (pending?.message === former) pending.message = will;
      }
    }
  }

  /** Removes the wills of an owner that was revoked or suspended. Resolves when they are gone from the disk. */
  async dropOwner(owner: string): Promise<void> {
    for (const pending of this.#published.values()) if (pending.about.owner === owner) pending.isDropped = true;
    for (const clientId of this.#wills.ofOwner(owner)) {
      this.#forget(clientId);
      this.#wills.remove(clientId);
    }
    await this.#wills.durable();
  }

  /** To be called before the stop of the server ends the sessions: from now on no will is published. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }

  #ofEarlierRun(clientId: string, will: WillRecord): PendingWill {
    const { gracePeriod, now, sessionExpiryOf } = this.#options;
    const delay = Math.min(will.delayInterval, sessionExpiryOf(clientId) ?? 0) * 1000;
    // A killed server has not recorded the end of the connection. Recorded now: otherwise each further restart would begin the delay anew.
    const isUnknown = will.dueAt === undefined && delay > 0;
    const known = isUnknown ? (this.#wills.setDue(clientId, now() + delay) ?? will) : will;
    // The wall clock may have been changed since: no wait is longer than the delay.
    const left = Math.min((known.dueAt ?? 0) - now(), delay);
    return new PendingWill(clientId, known, Math.max(left, gracePeriod), delay > 0);
  }

  #add(waiting: PendingWill): void {
    this.#waiting.set(waiting.clientId, waiting);
    this.#due.add(waiting);
  }

  #forget(clientId: string): void {
    const waiting = this.#waiting.get(clientId);
    if (waiting === undefined) return;
    this.#waiting.delete(clientId);
    this.#due.remove(waiting);
  }

  /** One timer for the will that is due first. Due ones begin in a turn of their own, a limited number in each. */
  #schedule(): void {
    const { first } = this.#due;
    if (first === undefined || this.#isStopped) return;
    const wait = first.dueAt - performance.now();
    if (wait <= 0) {
      if (this.#published.size < PUBLISHED_AT_ONCE) this.#immediate ??= setImmediate(() => this.#publishDue());
    } else if (this.#timer === undefined || this.#timerAt > first.dueAt) {
      clearTimeout(this.#timer);
      this.#timerAt = first.dueAt;
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          this.#schedule();
        },
        Math.min(Math.ceil(wait), LONGEST_TIMEOUT_MS),
      ).unref();
    }
  }

  #publishDue(): void {
    this.#immediate = undefined;
    const time = performance.now();
    while (this.#published.size < PUBLISHED_AT_ONCE) {
      const { first } = this.#due;
      if (first === undefined || first.dueAt > time) break;
      this.#forget(first.clientId);
      this.#publish(first);
    }
    this.#schedule();
  }

  #publish(pending: PendingWill): void {
    const former = this.#published.get(pending.clientId)?.publication;
    this.#published.set(pending.clientId, pending);
    pending.publication = this.#publishAfter(former, pending);
  }

  /** Never rejects. */
  async #publishAfter(former: Promise<void> | undefined, pending: PendingWill): Promise<void> {
    const { clientId } = pending;
    if (former !== undefined) await former;
    let mayRetry = false;
    try {
      if (!pending.isDropped) await this.#options.publish(pending);
    } catch (error) {
      mayRetry = pending.mayRetry && error instanceof Problem && error.code === 'unavailable';
      this.#failedWith(error, clientId);
    }
    pending.publication = undefined;
    if (this.#published.get(clientId) === pending) this.#published.delete(clientId);
    // Since then it may have been dropped, or replaced by that of a new connection.
    if (this.#wills.get(clientId) === pending.message) {
      if (mayRetry) {
        pending.dueAt = performance.now() + RETRY_MS;
        this.#add(pending);
      } else this.#wills.remove(clientId);
    }
    this.#schedule();
  }

  #failedWith(error: unknown, clientId: string): void {
    this.#failed += 1;
    const time = performance.now();
    if (time - this.#failureLoggedAt < RETRY_MS) return;
    this.#options.log.error({ err: error, clientId, wills: this.#failed }, 'wills could not be published');
    this.#failureLoggedAt = time;
    this.#failed = 0;
  }
}
