/**
 * Sessions that moved between nodes lately. Until all nodes know where a session is, a message for it may reach the node that had it, which
 * forwards it; and may reach its new node twice, directly and forwarded, which then queues it once.
 */

import { filterMatches } from '@rollcall/protocol';
import type { Message } from '../mqtt/message.ts';
import type { Origin } from './node-message.ts';

/** A message that came while the rows of a session were read. */
export interface EarlyMessage {
  readonly message: Message;
  readonly owner: string;
  readonly origin: Origin;
}

interface Departure {
  readonly to: string;
  readonly filters: readonly string[];
  readonly until: number;
}

interface Arrival {
  until: number;
  readonly seen: Set<string>;
  /** Undefined: its rows are loaded. */
  early: EarlyMessage[] | undefined;
}

/** For so long messages are forwarded, and recognized when they come twice, in ms. All nodes know of a move long before. */
export const MOVING_MS = 60_000;

export class MovingSessions {
  readonly #departures = new Map<string, Departure>();
  readonly #arrivals = new Map<string, Arrival>();
  #generation = 0;

  /** Grows with each departure: as `Routes`. */
  get generation(): number {
    return this.#generation;
  }

  /** The session is another node's from now on. */
  departed(clientId: string, to: string, filters: readonly string[]): void {
    this.#arrivals.delete(clientId);
    this.#departures.delete(clientId);
    if (filters.length === 0) return;
    this.#departures.set(clientId, { to, filters, until: performance.now() + MOVING_MS });
    this.#generation += 1;
  }

  /** The session is this node's from now on; its rows are being read. Called again, it forgets nothing of what came since. */
  arriving(clientId: string): void {
    this.#departures.delete(clientId);
    if (this.#arrivals.get(clientId)?.early !== undefined) return;
    this.#arrivals.set(clientId, { until: performance.now() + MOVING_MS, seen: new Set(), early: [] });
  }

  /** Its rows are loaded. Returns what came meanwhile. */
  arrived(clientId: string): readonly EarlyMessage[] {
    const arrival = this.#arrivals.get(clientId);
    const early = arrival?.early ?? [];
    if (arrival !== undefined) arrival.early = undefined;
    return early;
  }

  /** Nodes that a message has to be forwarded to. */
  nodesFor(topic: string): ReadonlySet<string> {
    const nodes = new Set<string>();
    for (const { to, filters } of this.#departures.values()) {
      if (filters.some((filter) => filterMatches(filter, topic))) nodes.add(to);
    }
    return nodes;
  }

  /**
   * Whether a message is to be queued for a session of this node: not again for one that has arrived lately, and later for one whose rows are
   * being read. Asked once for each message and session.
   */
  admits(clientId: string, origin: Origin): boolean {
    const arrival = this.#arrivals.get(clientId);
    if (arrival === undefined) return true;
    const name = `${origin.node} ${origin.number}`;
    if (arrival.seen.has(name)) return false;
    arrival.seen.add(name);
    return true;
  }

  /** A message of this node was queued for its sessions: it may come back from a node that had one of them. */
  queuedHere(origin: Origin): void {
    const name = `${origin.node} ${origin.number}`;
    for (const { early, seen } of this.#arrivals.values()) if (early === undefined) seen.add(name);
  }

  /** Whether a session has arrived lately, so that a forwarded message may be for it. */
  hasArrived(clientId: string): boolean {
    return this.#arrivals.has(clientId);
  }

  /** Remembers a message for all sessions whose rows are being read. */
  hold(early: EarlyMessage): void {
    for (const arrival of this.#arrivals.values()) arrival.early?.push(early);
  }

  get isEmpty(): boolean {
    return this.#arrivals.size === 0 && this.#departures.size === 0;
  }

  sweep(): void {
    const now = performance.now();
    for (const [clientId, { until }] of this.#departures) if (until < now) this.#departures.delete(clientId);
    for (const [clientId, { until, early }] of this.#arrivals) {
      if (until < now && early === undefined) this.#arrivals.delete(clientId);
    }
  }
}
