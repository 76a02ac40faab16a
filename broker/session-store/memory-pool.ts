/**
 * The size limit of the session store, and the share of each owner in it. Retained messages and queues each have a
 * part that the other cannot use. The share of an owner shrinks as its part fills up, so that many large
 * owners always leave space for others. A small share is guaranteed to each owner, even beyond the limit. Stores no message.
 */

export type PoolKind = 'retained' | 'queued';

/** A message was refused because of its owner's share. */
export interface PoolRefusal {
  readonly kind: PoolKind;
  readonly owner: string;
  /** Bytes of the refused message, and bytes that its owner has stored. */
  readonly bytes: number;
  readonly heldBytes: number;
}

export interface PoolUse {
  readonly bytes: number;
  /** The most bytes of this kind. */
  readonly limit: number;
  readonly refused: number;
}

/** The owner of the server's own retained messages: they are few, and devices need them, so no share limits them. */
export const SERVER_OWNER = 'server';

/** The largest part of the limit for each kind. Together they exceed it, and each leaves the rest to the other. */
const PART: Readonly<Record<PoolKind, number>> = { retained: 1 / 2, queued: 3 / 4 };

/** Bytes that every owner may have, however full the store is. */
export const GUARANTEED_BYTES: Readonly<Record<PoolKind, number>> = { retained: 4_096, queued: 16_384 };

/** The share of one owner in the free space. */
const SHARE_OF_FREE = 1 / 8;

/** The store counts as nearly full from this part of a limit on, and for this long after a refusal. */
const NEARLY_FULL = 0.9;
const SHORT_AFTER_REFUSAL_MS = 600_000;

interface Kind {
  bytes: number;
  refused: number;
  readonly owners: Map<string, number>;
}

export class MemoryPool {
  readonly #limit: number;
  readonly #now: () => number;
  readonly #kinds: Readonly<Record<PoolKind, Kind>> = {
    retained: { bytes: 0, refused: 0, owners: new Map() },
    queued: { bytes: 0, refused: 0, owners: new Map() },
  };
  readonly #listeners = new Set<(refusal: PoolRefusal) => void>();
  #refusedAt = Number.NEGATIVE_INFINITY;

  constructor(limit: number, now: () => number) {
    this.#limit = limit;
    this.#now = now;
  }

  get bytes(): number {
    return this.#kinds.retained.bytes + this.#kinds.queued.bytes;
  }

  use(kind: PoolKind): PoolUse {
    const { bytes, refused } = this.#kinds[kind];
    return { bytes, limit: Math.floor(this.#limit * PART[kind]), refused };
  }

  /** A part is nearly full, or a message was refused recently. */
  get isNearlyFull(): boolean {
    const isFull = (kind: PoolKind) => this.#free(kind) < this.#limit * PART[kind] * (1 - NEARLY_FULL);
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

  /** Whether an owner may store `bytes` more, while `replaced` bytes of its own are removed. */
  hasRoom(kind: PoolKind, owner: string, bytes: number, replaced = 0): boolean {
    if (owner === SERVER_OWNER) return true;
    const wanted = this.bytesOf(kind, owner) - replaced + bytes;
    if (wanted <= GUARANTEED_BYTES[kind] || bytes <= replaced) return true;
    const free = this.#free(kind) + replaced;
    return bytes <= free && wanted <= Math.max(GUARANTEED_BYTES[kind], free * SHARE_OF_FREE);
  }

  /** Counts and reports a refusal. */
  recordRefusal(kind: PoolKind, owner: string, bytes: number): void {
    this.#kinds[kind].refused += 1;
    this.#refusedAt = this.#now();
    const refusal = { kind, owner, bytes, heldBytes: this.bytesOf(kind, owner) };
    for (const listener of this.#listeners) listener(refusal);
  }

  /** Adds to the bytes in memory. */
  addBytes(kind: PoolKind, bytes: number): void {
    this.#kinds[kind].bytes += bytes;
  }

  /** Adds to the bytes of an owner. Several owners can share one message in memory. */
  addOwnerBytes(kind: PoolKind, owner: string, bytes: number): void {
    const { owners } = this.#kinds[kind];
    const held = (owners.get(owner) ?? 0) + bytes;
    if (held > 0) owners.set(owner, held);
    else owners.delete(owner);
  }

  #free(kind: PoolKind): number {
    const own = this.#limit * PART[kind] - this.#kinds[kind].bytes;
    return Math.max(0, Math.min(own, this.#limit - this.bytes));
  }
}
