/**
 * What one node at a time does for all: each has a lease with its name, for which every node that could do it competes. The holder is
 * told at once when it has lost a lease, and in any case before another node can have it.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Heartbeat } from '../heartbeat.ts';
import type { Wakes } from '../wakes.ts';
import type { PostgresDatabase, PostgresTransaction } from './database.ts';
import { type HeldLease, LeaseTable } from './leases.ts';

/** One term of a holder. */
export interface SingletonTerm {
  readonly name: string;
  /** Grows with each term of any node. */
  readonly epoch: number;
  /** By the clock, at this moment. */
  readonly isHeld: boolean;
  /** Within a transaction: it commits only while this term lasts. Throws Problem `unavailable` after it. */
  fence(transaction: PostgresTransaction): Promise<void>;
}

export interface Candidate {
  /** This node is to begin. */
  readonly onTaken: (term: SingletonTerm) => void;
  /** This node is to stop at once. */
  readonly onLost: (term: SingletonTerm, reason: 'taken by another process' | 'not confirmed in time') => void;
}

export interface SingletonsOptions {
  readonly database: PostgresDatabase;
  readonly node: string;
  /** As `Heartbeat` has it. */
  readonly now: () => number;
  /** Tells candidates on other nodes of a release. */
  readonly wakes?: Wakes | undefined;
  /** Milliseconds without a renewal after which another node may begin; 10,000 without it. */
  readonly duration?: number | undefined;
  /** Milliseconds between two renewals, and between two looks at leases of others; 2,000 without it. */
  readonly every?: number | undefined;
  /** A renewal or a look failed; the next one follows. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
}

interface Competition {
  readonly candidate: Candidate;
  term: (SingletonTerm & HeldLease & { readonly heartbeat: Heartbeat }) | undefined;
}

const NAMES = 'single/';
const RELEASED = 'leases';
const DURATION_MS = 10_000;
const EVERY_MS = 2_000;
/** The part of the duration after which a holder stops by itself; the rest is for the end of what it does. */
const OWN_PART = 0.8;

export class Singletons {
  readonly #options: SingletonsOptions;
  readonly #table: LeaseTable;
  readonly #competitions = new Map<string, Competition>();
  readonly #removeListener: (() => void) | undefined;
  #nudge = Promise.withResolvers<void>();
  readonly #ended: Promise<void>;
  #isClosed = false;

  constructor(options: SingletonsOptions) {
    this.#options = options;
    this.#table = new LeaseTable(options);
    this.#removeListener = options.wakes?.onWake(RELEASED, () => this.#nudge.resolve());
    this.#ended = this.#run();
  }

  /** From now on this node is a candidate. Returns a function that ends that and frees the lease; `onLost` is not called then. */
  compete(name: string, candidate: Candidate): () => Promise<void> {
    const lease = NAMES + name;
    if (this.#competitions.has(lease)) throw new RangeError(`expected one candidate for ${name}`);
    this.#competitions.set(lease, { candidate, term: undefined });
    this.#nudge.resolve();
    return () => this.#withdraw(lease);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#competitions.keys()].map((name) => this.#withdraw(name)));
    this.#isClosed = true;
    this.#nudge.resolve();
    this.#removeListener?.();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { every = EVERY_MS, onFailure } = this.#options;
    while (!this.#isClosed) {
      await this.#renew().catch((error: unknown) => onFailure?.(error));
      await this.#tryToTake().catch((error: unknown) => onFailure?.(error));
      const stopped = new AbortController();
      await Promise.race([delay(every, undefined, { ref: false, signal: stopped.signal }), this.#nudge.promise]);
      stopped.abort();
      this.#nudge = Promise.withResolvers();
    }
  }

  async #renew(): Promise<void> {
    const terms = [...this.#competitions.values()].flatMap(({ term }) => (term === undefined ? [] : [term]));
    if (terms.length === 0) return;
    const sentAt = this.#options.now();
    const held = await this.#table.renew(terms.map(({ name, epoch }) => ({ name, epoch })));
    for (const term of terms) {
      if (held.has(term.name)) term.heartbeat.confirm(sentAt);
      else this.#lose(term.name, 'taken by another process');
    }
  }

  async #tryToTake(): Promise<void> {
    const { duration = DURATION_MS, now } = this.#options;
    const names = [...this.#competitions].filter(([, { term }]) => term === undefined).map(([name]) => name);
    if (names.length === 0) return;
    const records = new Map((await this.#table.read(names)).map((record) => [record.name, record]));
    for (const name of names) {
      const record = records.get(name);
      if (record !== undefined && !this.#table.isFree(record)) continue;
      const sentAt = now();
      const lease = await this.#table.take(name, duration, record);
      const competition = this.#competitions.get(name);
      if (lease === undefined) continue;
      if (competition === undefined) await this.#release(lease);
      else this.#begin(competition, lease, sentAt);
    }
  }

  #begin(competition: Competition, lease: HeldLease, sentAt: number): void {
    const { duration = DURATION_MS, now } = this.#options;
    const bound = duration * OWN_PART;
    const heartbeat = new Heartbeat({
      now,
      schedule: (milliseconds, action) => {
        const timer = setTimeout(action, milliseconds);
        timer.unref();
        return () => clearTimeout(timer);
      },
      deafAfter: bound,
      expiredAfter: bound,
      onChange: (liveness) => {
        if (liveness !== 'alive') this.#lose(lease.name, 'not confirmed in time');
      },
    });
    heartbeat.confirm(sentAt);
    if (heartbeat.liveness !== 'alive') return; // taken again at the next look
    const term = {
      ...lease,
      heartbeat,
      get isHeld() {
        return heartbeat.liveness === 'alive';
      },
      fence: (transaction: PostgresTransaction) => this.#table.fence(transaction, lease),
    };
    competition.term = term;
    competition.candidate.onTaken(term);
  }

  #lose(name: string, reason: 'taken by another process' | 'not confirmed in time'): void {
    const competition = this.#competitions.get(name);
    const term = competition?.term;
    if (competition === undefined || term === undefined) return;
    competition.term = undefined;
    term.heartbeat.end();
    competition.candidate.onLost(term, reason);
  }

  async #withdraw(name: string): Promise<void> {
    const term = this.#competitions.get(name)?.term;
    this.#competitions.delete(name);
    if (term === undefined) return;
    term.heartbeat.end();
    await this.#release(term);
  }

  async #release({ name, epoch }: HeldLease): Promise<void> {
    try {
      await this.#table.release([{ name, epoch }]);
      this.#options.wakes?.wake(RELEASED);
    } catch (error) {
      // It is free after its duration.
      this.#options.onFailure?.(error);
    }
  }
}
