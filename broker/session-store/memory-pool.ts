/**
 * The bound on all that is kept between connections, and the share of each owner in it. Retained messages and queues have a
 * part each that the other cannot take. The share of an owner becomes smaller as its part fills up, so that many large
 * owners never leave nothing; a small share is guaranteed to each owner, beyond the bound too. Holds no message.
 */

export type PoolKind = 'retained' | 'queued';

/** An owner could not have more. */
export interface PoolRefusal {
  readonly kind: PoolKind;
  readonly owner: string;
  /** What it asked for, and what it has. */
  readonly bytes: number;
  readonly heldBytes: number;
}

export interface PoolUse {
  readonly bytes: number;
  /** The most that this kind can take. */
  readonly limit: number;
  readonly refused: number;
}

/** The server's own retained messages are few, and devices need them. */
export const SERVER_OWNER = 'server';

/** Parts of the bound: together more than all of it, and neither can take what is left for the other. */
const PART: Readonly<Record<PoolKind, number>> = { retained: 1 / 2, queued: 3 / 4 };

/** What every owner may have, whatever the others have. */
export const GUARANTEED_BYTES: Readonly<Record<PoolKind, number>> = { retained: 4_096, queued: 16_384 };

/** The share of one owner in what is free now. */
const SHARE_OF_FREE = 1 / 8;

/** From this part of a bound on, or so long after a refusal, it counts as short. */
const NEARLY_FULL = 0.9;
const SHORT_AFTER_REFUSAL_MS = 600_000;

interface Kind {
  bytes: number;
  refused: number;
  readonly owners: Map<string, number>;
}

export class MemoryPool {
  readonly #bound: number;
  readonly #now: () => number;
  readonly #kinds: Readonly<Record<PoolKind, Kind>> = {
    retained: { bytes: 0, refused: 0, owners: new Map() },
    queued: { bytes: 0, refused: 0, owners: new Map() },
  };
  readonly #listeners = new Set<(refusal: PoolRefusal) => void>();
  #refusedAt = Number.NEGATIVE_INFINITY;

  constructor(bound: number, now: () => number) {
    this.#bound = bound;
    this.#now = now;
  }

  get bytes(): number {
    return this.#kinds.retained.bytes + this.#kinds.queued.bytes;
  }

  use(kind: PoolKind): PoolUse {
    const { bytes, refused } = this.#kinds[kind];
    return { bytes, limit: Math.floor(this.#bound * PART[kind]), refused };
  }

  /** Something is nearly full, or somebody was refused not long ago. */
  get isNearlyFull(): boolean {
    const isFull = (kind: PoolKind) => this.#free(kind) < this.#bound * PART[kind] * (1 - NEARLY_FULL);
    return this.#now() - this.#refusedAt < SHORT_AFTER_REFUSAL_MS || isFull('retained') || isFull('queued');
  }

  /** Called synchronously. */
  onRefused(listener: (refusal: PoolRefusal) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  bytesOf(kind: PoolKind, owner: string): number {
    return this.#kinds[kind].owners.get(owner) ?? 0;
  }

  /** Whether an owner may have so much more; `replaced` bytes of its own go at the same time. */
  hasRoom(kind: PoolKind, owner: string, bytes: number, replaced = 0): boolean {
    if (owner === SERVER_OWNER) return true;
    const wanted = this.bytesOf(kind, owner) - replaced + bytes;
    if (wanted <= GUARANTEED_BYTES[kind] || bytes <= replaced) return true;
    const free = this.#free(kind) + replaced;
    return bytes <= free && wanted <= Math.max(GUARANTEED_BYTES[kind], free * SHARE_OF_FREE);
  }

  /** Counts a refusal, and tells of it. */
  recordRefusal(kind: PoolKind, owner: string, bytes: number): void {
    this.#kinds[kind].refused += 1;
    this.#refusedAt = this.#now();
    const refusal = { kind, owner, bytes, heldBytes: this.bytesOf(kind, owner) };
    for (const listener of this.#listeners) listener(refusal);
  }

  /** Counts bytes in memory. */
  addBytes(kind: PoolKind, bytes: number): void {
    this.#kinds[kind].bytes += bytes;
  }

  /** Counts bytes of an owner; less than it is in memory where several owners share a message. */
  addOwnerBytes(kind: PoolKind, owner: string, bytes: number): void {
    const { owners } = this.#kinds[kind];
    const held = (owners.get(owner) ?? 0) + bytes;
    if (held > 0) owners.set(owner, held);
    else owners.delete(owner);
  }

  #free(kind: PoolKind): number {
    const own = this.#bound * PART[kind] - this.#kinds[kind].bytes;
    return Math.max(0, Math.min(own, this.#bound - this.bytes));
  }
}
