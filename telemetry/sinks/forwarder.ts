/**
 * Forwards one journal to one target: at least once, in the order of the journal, from a cursor that is stored. Holds one page of
 * messages in memory; writers of the journal never wait for it.
 */

import { setTimeout as waitForTimer } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { propertiesLength } from '../../storage/index.ts';
import { Cursor } from '../cursor.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Backoff } from './backoff.ts';
import type { DeadLetters } from './dead-letters.ts';
import { EventDigest } from './event-digest.ts';
import type { SinkMessageFilter } from './filter.ts';
import type { JournalHead } from './journal-head.ts';
import { MissedMessages } from './missed-messages.ts';
import { type SinkCondition, SinkState, type SinkStateView } from './sink-state.ts';
import { type RefusedMessage, type SinkMessage, type Target, TargetDown } from './target.ts';

export interface BatchLimits {
  readonly messages: number;
  /** Of payload and MQTT 5 properties; one message may be larger alone. */
  readonly bytes: number;
  /** How long the first message after a quiet time waits for others, in ms. */
  readonly linger: number;
}

/** Where the position of a sink is stored. */
export interface SinkCursor {
  /** Undefined for a new sink. */
  read(): Cursor | undefined;
  /** Resolves when it is stored. */
  save(position: Cursor): Promise<void>;
}

export interface ForwarderOptions {
  readonly journal: Pick<Telemetry<string>, 'pages' | 'onStored'>;
  readonly head: JournalHead;
  readonly target: Target;
  readonly filter: SinkMessageFilter;
  readonly cursor: SinkCursor;
  readonly deadLetters: DeadLetters;
  readonly batch: BatchLimits;
  readonly backoff: Backoff;
  /**
   * Milliseconds between two deliveries, at the least; undefined: no interval. With an interval a delivery is a digest of
   * everything since the last one, the first is at once, and events that are older than a day are left out.
   */
  readonly every?: number | undefined;
  /** Of the interval; of timers when left out. Rejects when the signal is aborted. */
  readonly waitForInterval?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  readonly now: () => number;
  readonly log: Logger;
}

/** Counts are since the start of the server. */
export interface ForwarderStatus extends SinkStateView {
  /** Everything up to here is forwarded, not wanted, or a dead letter. */
  readonly position: Cursor;
  readonly lagMessages: number;
  /** Age of the oldest message that is to be forwarded, as far as it is known. */
  readonly lagMs: number;
  readonly forwarded: number;
  /** Not selected by the filter. */
  readonly filtered: number;
  readonly retries: number;
  readonly deadLettered: number;
  /** Removed from the journal before the target had them. */
  readonly missed: number;
}

/** A digest says nothing about older events. */
const OLDEST_MS = 86_400_000;

/** The loop must stop what it is doing: a replay was requested, or the sink is closing. */
class Interrupted extends Error {}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #stop = new AbortController();
  /** When the last digest was taken. */
  #sentAt = Number.NEGATIVE_INFINITY;
  #isClosing = false;
  #position: Cursor;
  #saved: Cursor;
  /** After the last message that is in memory. */
  #pageEnd = Cursor.BEGIN;
  #oldestAt: number | undefined;
  readonly #state: SinkState;
  readonly #missed: MissedMessages;
  #forwarded = 0;
  #filtered = 0;
  #retries = 0;
  #jump: { readonly to: Cursor; readonly done: () => void } | undefined;
  #skip: ((message: SinkMessage | undefined) => void) | undefined;
  /** Ends the current wait of the loop. */
  #wake: () => void = () => {};
  #running: Promise<void> | undefined;

  /** A new sink begins with the oldest message. */
  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#position = options.cursor.read() ?? Cursor.BEGIN;
    this.#saved = this.#position;
    this.#state = new SinkState(options);
    this.#missed = new MissedMessages(options.log);
    if (options.cursor.read() === undefined) this.#missed.forgetOlder();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  status(): ForwarderStatus {
    const { head, now } = this.#options;
    const lagMessages = this.#position.distanceTo(head.end);
    const isBehind = lagMessages > 0 && this.#oldestAt !== undefined;
    return {
      ...this.#state.view(),
      position: this.#position,
      lagMessages,
      lagMs: isBehind ? Math.max(0, now() - (this.#oldestAt as number)) : 0,
      forwarded: this.#forwarded,
      filtered: this.#filtered,
      retries: this.#retries,
      deadLettered: this.#options.deadLetters.count,
      missed: this.#missed.count,
    };
  }

  /** Forwards what a reader that is there does not have, again. Resolves when it has begun. */
  replay(to: Cursor): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.reject(new Problem('unavailable', { reason: 'the sink is stopped' }));
    return new Promise((resolve) => {
      this.#jump?.done();
      this.#jump = { to, done: resolve };
      this.#wake();
    });
  }

  /** Makes the message that its target doesn't take now a dead letter; undefined when the target isn't down. */
  skip(): Promise<SinkMessage | undefined> {
    if (!this.#state.isDown || this.#skip !== undefined) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#skip = resolve;
      this.#wake();
    });
  }

  /** Counts what retention removed before the target had it, also while the target is down. */
  async checkRetention(): Promise<void> {
    const begin = await this.#options.head.begin();
    this.#missed.note(this.#position.and(this.#pageEnd), begin);
  }

  /** Checks whether the target still has what was delivered, also while there is nothing to forward. */
  async checkTarget(): Promise<void> {
    if (this.#isClosing) return;
    await this.#options.target.check?.();
    this.#state.readNotice();
  }

  /** Gives the current delivery `graceMs` to finish, saves the position, and closes the target. */
  async close(graceMs: number): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#isClosing = true;
    this.#wake();
    const timer = setTimeout(() => this.#stop.abort(), graceMs);
    await this.#running;
    clearTimeout(timer);
    this.#stop.abort();
    this.#enter('stopped');
    await this.#options.target.close();
  }

  async #run(): Promise<void> {
    const { log, backoff } = this.#options;
    while (!this.#isClosing) {
      try {
        await this.#forwardAll();
      } catch (error) {
        if (error instanceof Interrupted) {
          await this.#applyReplay();
          continue;
        }
        // The journal could not be read, or the cursor not be saved.
        const reason = error instanceof Error ? error.message : String(error);
        if (!this.#state.isDown) log.error({ err: error }, 'sink could not continue');
        this.#enter('down', reason);
        this.#retries += 1;
        await this.#wait(backoff.next());
      }
    }
    this.#jump?.done();
    this.#skip?.(undefined);
    await this.#save().catch((error: unknown) => log.error({ err: error }, 'position of the sink was not saved'));
  }

  /** Until there is nothing left, then until there is something again. */
  async #forwardAll(): Promise<void> {
    const { journal, batch, every } = this.#options;
    if (every !== undefined) await this.#waitForInterval(every);
    // Followed before it is read: what comes in between is in one of the two.
    const woken = Promise.withResolvers<void>();
    const stopFollowing = journal.onStored(() => woken.resolve());
    try {
      const pages = journal.pages({ after: this.#position });
      const count = await (every === undefined ? this.#forwardPages(pages) : this.#forwardDigest(pages));
      if (count === 0) {
        this.#enter('idle');
        this.#wake = woken.resolve;
        if (!this.#isWanted()) await woken.promise;
      }
      if (count >= batch.messages && every === undefined) return;
    } finally {
      this.#wake = () => {};
      stopFollowing();
    }
    this.#check();
    await this.#wait(batch.linger); // a message alone costs a target as much as a hundred
  }

  /** Returns how many messages were read. */
  async #forwardPages(pages: AsyncIterable<readonly SinkMessage[]>): Promise<number> {
    let count = 0;
    for await (const page of pages) {
      count += page.length;
      await this.#forwardPage(page);
    }
    return count;
  }

  /** Everything in one delivery, however much it is. */
  async #forwardDigest(pages: AsyncIterable<readonly SinkMessage[]>): Promise<number> {
    const { now } = this.#options;
    const digest = new EventDigest(now() - OLDEST_MS);
    let [count, reached] = [0, this.#position];
    for await (const page of pages) {
      count += page.length;
      digest.add(await this.#select(page, reached));
      reached = reached.and(this.#pageEnd);
      this.#check();
    }
    if (digest.outdated > 0) {
      const text = `${digest.outdated} events were older than a day, and nothing was sent about them`;
      this.#state.note(text);
    }
    if (digest.total > 0) {
      await this.#deliver(digest.messages, digest);
      this.#sentAt = now();
    }
    this.#position = reached;
    await this.#save();
    return count;
  }

  async #waitForInterval(every: number): Promise<void> {
    const { now, waitForInterval = (ms, signal) => waitForTimer(ms, undefined, { signal }) } = this.#options;
    const ms = Math.min(this.#sentAt + every - now(), every); // also when the clock was set back
    if (ms <= 0) return;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    if (!this.#isWanted()) await waitForInterval(ms, woken.signal).catch(() => {});
    this.#wake = () => {};
    this.#check();
  }

  /** What the filter selects of a page that comes after a position. */
  async #select(page: readonly SinkMessage[], after: Cursor): Promise<readonly SinkMessage[]> {
    const { head, filter } = this.#options;
    const last = page.at(-1) as SinkMessage;
    this.#pageEnd = after.after(last.position);
    head.advanceTo(last.position);
    await this.#missed.beginAt(head);
    this.#missed.note(after, Cursor.before((page[0] as SinkMessage).position));
    this.#oldestAt = page[0]?.receivedAt;
    if (!this.#state.isDown) this.#enter('forwarding');
    const wanted = await filter.select(page);
    this.#filtered += page.length - wanted.length;
    return wanted;
  }

  async #forwardPage(page: readonly SinkMessage[]): Promise<void> {
    const { batch } = this.#options;
    const wanted = await this.#select(page, this.#position);
    for (let start = 0; start < wanted.length; ) {
      const end = endOfBatch(wanted, start, batch);
      this.#oldestAt = wanted[start]?.receivedAt;
      await this.#deliver(wanted.slice(start, end));
      this.#position = this.#position.after((wanted[end - 1] as SinkMessage).position);
      await this.#save();
      start = end;
    }
    this.#position = this.#pageEnd;
    await this.#save();
    this.#check();
  }

  /** Tries until every message arrived or is a dead letter. */
  async #deliver(messages: readonly SinkMessage[], digest?: EventDigest): Promise<void> {
    const { target, backoff, deadLetters } = this.#options;
    let batch = messages;
    while (batch.length > 0) {
      this.#check();
      let refused: readonly RefusedMessage[];
      try {
        refused = await this.#unlessStopped(target.deliver(batch, this.#stop.signal, digest));
        this.#state.readNotice();
      } catch (error) {
        this.#state.readNotice();
        if (this.#isClosing) throw new Interrupted();
        this.#retries += 1;
        this.#state.failed(error);
        await this.#wait(backoff.next(error instanceof TargetDown ? error.retryAfter : undefined));
        batch = await this.#skipFirst(batch);
        continue;
      }
      await deadLetters.add(refused);
      this.#forwarded += batch.length - refused.length;
      this.#succeeded();
      return;
    }
  }

  /** A target can't keep the server from stopping. */
  #unlessStopped<Value>(work: Promise<Value>): Promise<Value> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      const stopped = () => reject(new Interrupted());
      signal.addEventListener('abort', stopped);
      work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stopped));
    });
  }

  async #skipFirst(batch: readonly SinkMessage[]): Promise<readonly SinkMessage[]> {
    const skip = this.#skip;
    const [first, ...rest] = batch;
    if (skip === undefined || first === undefined) return batch;
    this.#skip = undefined;
    await this.#options.deadLetters.add([{ message: first, reason: 'skipped by an operator' }]);
    skip(first);
    return rest;
  }

  #succeeded(): void {
    this.#options.backoff.succeeded();
    this.#state.succeeded();
  }

  async #applyReplay(): Promise<void> {
    const jump = this.#jump;
    if (jump === undefined) return;
    this.#jump = undefined;
    this.#options.target.replaying?.();
    this.#position = jump.to;
    this.#missed.forgetOlder();
    await this.#save();
    jump.done();
  }

  async #save(): Promise<void> {
    if (`${this.#saved}` === `${this.#position}`) return;
    await this.#options.cursor.save(this.#position);
    this.#saved = this.#position;
  }

  #isWanted(): boolean {
    return this.#isClosing || this.#jump !== undefined;
  }

  #check(): void {
    if (this.#isWanted()) throw new Interrupted();
  }

  #wait(ms: number): Promise<void> {
    if (this.#isWanted() || this.#skip !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), ms);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
    });
  }

  #enter(state: SinkCondition, reason?: string): void {
    if (state === 'idle' && this.#state.view().state !== 'idle') this.#oldestAt = undefined;
    this.#state.enter(state, reason);
  }
}

function endOfBatch(messages: readonly SinkMessage[], start: number, { messages: most, bytes }: BatchLimits): number {
  let end = start;
  let total = 0;
  while (end < messages.length && end - start < most) {
    const message = messages[end] as SinkMessage;
    total += message.payload.byteLength + propertiesLength(message);
    if (total > bytes && end > start) break;
    end += 1;
  }
  return end;
}
