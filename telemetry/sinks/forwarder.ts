/**
 * Forwards one journal to one target: at least once, in the order of the journal, from a cursor that is stored. Holds one page of
 * messages in memory; writers of the journal never wait for it.
 */

import { setTimeout as waitForTimer } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Cursor } from '../cursor.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Backoff } from './backoff.ts';
import { type BatchLimits, batchesOf } from './batch.ts';
import type { DeadLetters } from './dead-letters.ts';
import { Delivery } from './delivery.ts';
import { EventDigest } from './event-digest.ts';
import type { SinkMessageFilter } from './filter.ts';
import { Interrupted, Interruptions } from './interruptions.ts';
import type { JournalHead } from './journal-head.ts';
import { MissedMessages } from './missed-messages.ts';
import { type SinkCondition, SinkState, type SinkStateView } from './sink-state.ts';
import type { SinkMessage, Target } from './target.ts';

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

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #interruptions = new Interruptions();
  readonly #state: SinkState;
  readonly #delivery: Delivery;
  readonly #missed: MissedMessages;
  /** When the last digest was taken. */
  #sentAt = Number.NEGATIVE_INFINITY;
  #position: Cursor;
  /** Undefined while it is not known what is stored. */
  #saved: Cursor | undefined;
  /** After the last message that is in memory. */
  #pageEnd = Cursor.BEGIN;
  #oldestAt: number | undefined;
  #filtered = 0;
  /** Of the journal and of the position. */
  #retries = 0;
  #running: Promise<void> | undefined;

  /** A new sink begins with the oldest message. */
  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#position = options.cursor.read() ?? Cursor.BEGIN;
    this.#saved = this.#position;
    this.#state = new SinkState(options);
    this.#delivery = new Delivery({ ...options, state: this.#state, interruptions: this.#interruptions });
    this.#missed = new MissedMessages(options.log);
    if (options.cursor.read() === undefined) this.#missed.forgetOlder();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  status(): ForwarderStatus {
    const { head, now, deadLetters } = this.#options;
    const lagMessages = this.#position.distanceTo(head.end);
    const isBehind = lagMessages > 0 && this.#oldestAt !== undefined;
    return {
      ...this.#state.view(),
      position: this.#position,
      lagMessages,
      lagMs: isBehind ? Math.max(0, now() - (this.#oldestAt as number)) : 0,
      forwarded: this.#delivery.forwarded,
      filtered: this.#filtered,
      retries: this.#retries + this.#delivery.retries,
      deadLettered: deadLetters.count,
      missed: this.#missed.count,
    };
  }

  /**
   * Forwards what a reader that is there does not have, again. Resolves when it has begun; rejects with what saving the position throws,
   * and then nothing has changed.
   */
  replay(to: Cursor): Promise<void> {
    return this.#interruptions.requestReplay(to);
  }

  /** Makes the message that its target doesn't take now a dead letter; undefined when the target isn't down. */
  skip(): Promise<SinkMessage | undefined> {
    return this.#state.isDown ? this.#interruptions.requestSkip() : Promise.resolve(undefined);
  }

  /** Counts what retention removed before the target had it, also while the target is down. */
  async checkRetention(): Promise<void> {
    const begin = await this.#options.head.begin();
    this.#missed.note(this.#position.and(this.#pageEnd), begin);
  }

  /** Checks whether the target still has what was delivered, also while there is nothing to forward. */
  async checkTarget(): Promise<void> {
    if (this.#interruptions.isClosing) return;
    await this.#options.target.check?.();
    this.#state.readNotice();
  }

  /** Gives the current delivery `graceMs` to finish, saves the position, and closes the target. */
  async close(graceMs: number): Promise<void> {
    if (this.#interruptions.signal.aborted) return;
    await this.#interruptions.close(graceMs, this.#running);
    this.#enter('stopped');
    await this.#options.target.close();
  }

  async #run(): Promise<void> {
    const { log, backoff } = this.#options;
    const interruptions = this.#interruptions;
    while (!interruptions.isClosing) {
      try {
        await this.#applyReplay();
        await this.#forwardAll();
      } catch (error) {
        if (error instanceof Interrupted) continue;
        // The journal could not be read, or the cursor not be saved.
        const reason = error instanceof Error ? error.message : String(error);
        if (!this.#state.isDown) log.error({ err: error }, 'sink could not continue');
        this.#enter('down', reason);
        this.#retries += 1;
        await interruptions.wait(backoff.next());
      }
    }
    interruptions.endRequests();
    await this.#save().catch((error: unknown) => log.error({ err: error }, 'position of the sink was not saved'));
  }

  /** Until there is nothing left, then until there is something again. */
  async #forwardAll(): Promise<void> {
    const { journal, batch, every } = this.#options;
    const interruptions = this.#interruptions;
    if (every !== undefined) await this.#waitForInterval(every);
    // Followed before it is read: what comes in between is in one of the two.
    const woken = Promise.withResolvers<void>();
    const stopFollowing = journal.onStored(() => woken.resolve());
    try {
      const pages = journal.pages({ after: this.#position });
      const count = await (every === undefined ? this.#forwardPages(pages) : this.#forwardDigest(pages));
      if (count === 0) {
        this.#enter('idle');
        interruptions.takeSkip()?.(undefined);
        await interruptions.waitFor(woken.promise);
      }
      if (count >= batch.messages && every === undefined) return;
    } finally {
      stopFollowing();
    }
    interruptions.check();
    await interruptions.wait(batch.linger); // a message alone costs a target as much as a hundred
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
      this.#interruptions.check();
    }
    if (digest.outdated > 0) {
      const text = `${digest.outdated} events were older than a day, and nothing was sent about them`;
      this.#state.note(text);
    }
    if (digest.total > 0) {
      await this.#delivery.deliver(digest.messages, digest);
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
    await this.#interruptions.waitWithSignal((signal) => waitForInterval(ms, signal));
    this.#interruptions.check();
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
    const wanted = await this.#select(page, this.#position);
    for (const batch of batchesOf(wanted, this.#options.batch)) {
      this.#oldestAt = batch[0]?.receivedAt;
      await this.#delivery.deliver(batch);
      this.#position = this.#position.after((batch.at(-1) as SinkMessage).position);
      await this.#save();
    }
    this.#position = this.#pageEnd;
    await this.#save();
    this.#interruptions.check();
  }

  async #applyReplay(): Promise<void> {
    const replay = this.#interruptions.takeReplay();
    if (replay === undefined) return;
    const before = this.#position;
    this.#position = replay.to;
    try {
      await this.#save();
    } catch (error) {
      this.#position = before;
      replay.failed(error);
      return;
    }
    this.#options.target.replaying?.();
    this.#missed.forgetOlder();
    // Another message is the first one now.
    this.#interruptions.takeSkip()?.(undefined);
    replay.begun();
  }

  async #save(): Promise<void> {
    const position = this.#position;
    if (`${this.#saved}` === `${position}`) return;
    // A save that fails may be stored all the same.
    this.#saved = undefined;
    await this.#options.cursor.save(position);
    this.#saved = position;
  }

  #enter(state: SinkCondition, reason?: string): void {
    if (state === 'idle' && this.#state.view().state !== 'idle') this.#oldestAt = undefined;
    this.#state.enter(state, reason);
  }
}
