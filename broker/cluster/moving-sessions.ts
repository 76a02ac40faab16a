/**
 * Sessions that moved between nodes lately. Until all nodes know where a session is, a message for it may reach the node that had it, which
 * forwards it; and may reach its new node twice, directly and forwarded, which then queues it once.
 */

import type { Message } from '../mqtt/message.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { Origin } from './node-message.ts';

/** A message that came while the rows of a session were read. */
export interface EarlyMessage {
  readonly message: Message;
  readonly owner: string;
  readonly origin: Origin;
}

/** What this node sends to others: each message was queued for its own sessions before. */
export interface OwnMessages {
  /** The name of the node. */
  readonly name: string;
  /** The number of the last one. */
  readonly last: number;
}

interface Departure {
  readonly clientId: string;
  readonly to: string;
  readonly filters: readonly string[];
  readonly until: number;
}

interface Arrival {
  until: number;
  readonly seen: Set<string>;
  /** Undefined: its rows are loaded. */
  early: EarlyMessage[] | undefined;
  /** The last message that this node had sent to others when they were loaded: it has queued later ones itself. */
  loadedAfter: number;
}

/** For so long messages are forwarded, and recognized when they come twice, in ms. All nodes know of a move long before. */
export const MOVING_MS = 60_000;

export class MovingSessions {
  readonly #own: OwnMessages;
  readonly #departures = new Map<string, Departure>();
  readonly #departed = new FilterTree<Departure>(({ clientId }) => clientId);
  readonly #arrivals = new Map<string, Arrival>();

  constructor(own: OwnMessages) {
    this.#own = own;
  }

  /** Grows with each departure: as `Routes`. */
  get generation(): number {
    return this.#departed.generation;
  }

  /** The session is another node's from now on. */
  departed(clientId: string, to: string, filters: readonly string[]): void {
    this.#arrivals.delete(clientId);
    this.#forget(clientId);
    if (filters.length === 0) return;
    const departure = { clientId, to, filters, until: performance.now() + MOVING_MS };
    this.#departures.set(clientId, departure);
    for (const filter of filters) this.#departed.addStored(filter, departure);
  }

  /** The session is this node's from now on; its rows are being read. Called again, it forgets nothing of what came since. */
  arriving(clientId: string): void {
    this.#forget(clientId);
    if (this.#arrivals.get(clientId)?.early !== undefined) return;
    const until = performance.now() + MOVING_MS;
    this.#arrivals.set(clientId, { until, seen: new Set(), early: [], loadedAfter: 0 });
  }

  /** Its rows are loaded. Returns what came meanwhile. */
  arrived(clientId: string): readonly EarlyMessage[] {
    const arrival = this.#arrivals.get(clientId);
    const early = arrival?.early ?? [];
    if (arrival !== undefined) Object.assign(arrival, { early: undefined, loadedAfter: this.#own.last });
    return early;
  }

  /** Nodes that a message has to be forwarded to. */
  nodesFor(topic: string): ReadonlySet<string> {
    return new Set(this.#departed.matching(topic).map(({ to }) => to));
  }

  /**
   * Whether a message is to be queued for a session of this node: not again for one that has arrived lately, and later for one whose rows are
   * being read. Asked once for each message and session.
   */
  admits(clientId: string, origin: Origin): boolean {
    const arrival = this.#arrivals.get(clientId);
    if (arrival === undefined) return true;
    const { early, loadedAfter } = arrival;
    if (origin.node === this.#own.name && early === undefined && origin.number > loadedAfter) return false;
    const name = `${origin.node} ${origin.number}`;
    if (arrival.seen.has(name)) return false;
    arrival.seen.add(name);
    return true;
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
    for (const [clientId, { until }] of this.#departures) if (until < now) this.#forget(clientId);
    for (const [clientId, { until, early }] of this.#arrivals) {
      if (until < now && early === undefined) this.#arrivals.delete(clientId);
    }
  }

  #forget(clientId: string): void {
    for (const filter of this.#departures.get(clientId)?.filters ?? []) this.#departed.removeStored(filter, clientId);
    this.#departures.delete(clientId);
  }
}
