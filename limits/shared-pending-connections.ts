/**
 * One count of pending connections for several threads, in shared memory: each limit holds for all of them together, whichever thread the
 * kernel gives a connection to. Takes no lock, so that a thread that ends in the middle of a step blocks no other; `forget()` takes back what
 * it had counted. A place is counted before the limit is compared: at a limit two threads may both be refused, and never both admitted.
 *
 * Networks lie in sets of eight entries. An entry is used again when its network has no pending connection and its whole burst. Where none of
 * a set is, the one that has waited longest loses its rate: that takes eight other networks of one set within two seconds, and which networks
 * share a set depends on a secret of this process.
 */

import { hash, randomBytes } from 'node:crypto';
import type { LoadTest } from './load-test-exemptions.ts';
import type {
  ConnectionRefusal,
  PendingConnectionCounts,
  PendingConnectionLimits,
  PendingPlace,
} from './pending-connections.ts';

/** Crosses to other threads; all of them share its memory. */
export interface SharedConnectionMemory {
  /** Threads that count. */
  readonly threads: number;
  /** Networks are hashed with it. */
  readonly secret: string;
  readonly entries: SharedArrayBuffer;
  readonly counts: SharedArrayBuffer;
}

/** 32,768 networks: about 1.5 MB with eight threads. */
const SETS = 4_096;
const WAYS = 8;
const ENTRIES = SETS * WAYS;
const SECOND = 1_000_000_000;

export function createSharedConnectionMemory(threads: number): SharedConnectionMemory {
  return {
    threads,
    secret: randomBytes(16).toString('base64'),
    entries: new SharedArrayBuffer(ENTRIES * 2 * BigInt64Array.BYTES_PER_ELEMENT),
    counts: new SharedArrayBuffer((ENTRIES + 2) * threads * Int32Array.BYTES_PER_ELEMENT),
  };
}

/** A rate as its interval and the time of a whole burst, in nanoseconds. */
interface Pace {
  readonly interval: bigint;
  readonly burst: bigint;
}

export interface SharedConnectionOptions {
  readonly memory: SharedConnectionMemory;
  /** The number of this thread, 0 up to `threads`. */
  readonly thread: number;
  readonly limits: PendingConnectionLimits;
  /** Nanoseconds of a clock that all threads share and that only goes forward: `process.hrtime.bigint`. */
  readonly monotonic: () => bigint;
}

export class SharedPendingConnections implements PendingConnectionCounts {
  readonly #limits: PendingConnectionLimits;
  readonly #monotonic: () => bigint;
  readonly #thread: number;
  readonly #counts: SharedCounts;
  readonly #secret: string;
  /** Hashes of the networks in the entries; 0: the entry is free. */
  readonly #keys: BigInt64Array;
  /** When each entry has its whole burst again (the theoretical arrival time of the generic cell rate algorithm). */
  readonly #fullAt: BigInt64Array;

  constructor({ memory, thread, limits, monotonic }: SharedConnectionOptions) {
    this.#limits = limits;
    this.#monotonic = monotonic;
    this.#thread = thread;
    this.#counts = new SharedCounts(memory);
    this.#secret = memory.secret;
    this.#keys = new BigInt64Array(memory.entries, 0, ENTRIES);
    this.#fullAt = new BigInt64Array(memory.entries, ENTRIES * BigInt64Array.BYTES_PER_ELEMENT, ENTRIES);
  }

  get pending(): number {
    return this.#counts.own(TOTAL, this.#thread);
  }

  /** The limits are read at each connection. */
  limitsChanged(): void {}

  admit(network: string, loadTest: LoadTest | undefined): PendingPlace | ConnectionRefusal {
    const { handshakes, handshakesPerAddress, connectionsPerSecondPerAddress } = this.#limits;
    const now = this.#monotonic();
    const entry = this.#entryOf(loadTest === undefined ? network : `load test ${loadTest.tokenId}`, now);
    const own = loadTest === undefined ? entry : LOAD_TESTS;
    const mostOfOwn = loadTest === undefined ? handshakesPerAddress : handshakes / 2;
    if (!this.#add(TOTAL, handshakes)) return 'too_many_handshakes';
    if (!this.#add(own, mostOfOwn)) {
      this.#subtract(TOTAL);
      return 'too_many_handshakes';
    }
    const release = () => {
      this.#subtract(TOTAL);
      this.#subtract(own);
    };
    if (this.#take(entry, paceOf(loadTest?.perSecond ?? connectionsPerSecondPerAddress), now)) return { release };
    release();
    return 'rate_limited';
  }

  #add(row: number, most: number): boolean {
    this.#counts.change(row, this.#thread, 1);
    if (most === 0 || this.#counts.sum(row) <= most) return true;
    this.#subtract(row);
    return false;
  }

  #subtract(row: number): void {
    this.#counts.change(row, this.#thread, -1);
  }

  #take(entry: number, pace: Pace | undefined, now: bigint): boolean {
    if (pace === undefined) return true;
    for (;;) {
      const fullAt = Atomics.load(this.#fullAt, entry);
      const latest = now + pace.burst; // A rate that was raised has no longer burst than its own.
      const from = fullAt < now ? now : fullAt > latest ? latest : fullAt;
      const next = from + pace.interval;
      if (next > latest) return false;
      if (Atomics.compareExchange(this.#fullAt, entry, fullAt, next) === fullAt) return true;
    }
  }

  /** The entry of a key, a new one where it has none. Another thread may give it to another key: its count is that one's then. */
  #entryOf(text: string, now: bigint): number {
    const digest = hash('sha256', `${this.#secret} ${text}`, 'buffer');
    const key = digest.readBigInt64LE() || 1n;
    const first = (digest.readUInt16LE(8) % SETS) * WAYS;
    for (;;) {
      for (let entry = first; entry < first + WAYS; entry += 1) {
        if (Atomics.load(this.#keys, entry) === key) return entry;
      }
      const entry = this.#leastUsed(first, now);
      const present = Atomics.load(this.#keys, entry);
      if (Atomics.compareExchange(this.#keys, entry, present, key) !== present) continue;
      Atomics.store(this.#fullAt, entry, 0n);
      return entry;
    }
  }

  /** A free or idle entry of a set; otherwise the one that is full first, of those without a pending connection where there are any. */
  #leastUsed(first: number, now: bigint): number {
    let found = first;
    let lowest: bigint | undefined;
    for (let entry = first; entry < first + WAYS; entry += 1) {
      if (Atomics.load(this.#keys, entry) === 0n) return entry;
      const isPending = this.#counts.sum(entry) > 0;
      const fullAt = Atomics.load(this.#fullAt, entry);
      if (!isPending && fullAt <= now) return entry;
      const rank = isPending ? fullAt + BigInt(3600 * SECOND) : fullAt;
      if (lowest !== undefined && rank >= lowest) continue;
      lowest = rank;
      found = entry;
    }
    return found;
  }
}

/** Rows of counts behind those of the entries. */
const TOTAL = ENTRIES;
const LOAD_TESTS = ENTRIES + 1;

/** A count per row and thread. Each thread changes its own; the count of a row is their sum. */
class SharedCounts {
  readonly #threads: number;
  readonly #cells: Int32Array;

  constructor({ threads, counts }: SharedConnectionMemory) {
    this.#threads = threads;
    this.#cells = new Int32Array(counts);
  }

  own(row: number, thread: number): number {
    return Atomics.load(this.#cells, row * this.#threads + thread);
  }

  sum(row: number): number {
    let sum = 0;
    for (let thread = 0; thread < this.#threads; thread += 1) sum += this.own(row, thread);
    return sum;
  }

  change(row: number, thread: number, by: 1 | -1): void {
    Atomics.add(this.#cells, row * this.#threads + thread, by);
  }
}

/** Takes back the places of a thread that has ended. */
export function forgetConnections({ threads, counts }: SharedConnectionMemory, thread: number): void {
  const cells = new Int32Array(counts);
  for (let cell = thread; cell < cells.length; cell += threads) Atomics.store(cells, cell, 0);
}

/** Undefined: no limit. */
function paceOf(perSecond: number): Pace | undefined {
  if (perSecond === 0) return undefined;
  const interval = BigInt(Math.max(1, Math.round(SECOND / perSecond)));
  return { interval, burst: BigInt(Math.max(1, Math.floor(perSecond * 2))) * interval };
}
