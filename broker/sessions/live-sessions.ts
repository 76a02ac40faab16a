/** The sessions that are connected, by client id and identity; and the limit on takeovers per client id. */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Session } from './session.ts';
import { firstAfter, type NodeSessions, type SessionQuery } from './session-page.ts';
import { TakeoverLimit } from './takeover-limit.ts';

/** A connected session, as the broker describes it to other modules. */
export interface LiveSession {
  readonly identity: Identity;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
  readonly connectedAt: number;
  readonly notAfter: number;
}

export class LiveSessions {
  readonly #byClientId = new Map<string, Session>();
  readonly #byIdentity = new Map<string, Set<Session>>();
  readonly #takeovers: TakeoverLimit;

  constructor(takeoversPerMinute: number) {
    this.#takeovers = new TakeoverLimit(takeoversPerMinute);
  }

  get size(): number {
    return this.#byClientId.size;
  }

  find(clientId: string): Session | undefined {
    return this.#byClientId.get(clientId);
  }

  ofIdentity(identity: Identity): readonly Session[] {
    return [...(this.#byIdentity.get(formatIdentity(identity)) ?? [])];
  }

  count(identity: Identity): number {
    return this.#byIdentity.get(formatIdentity(identity))?.size ?? 0;
  }

  all(): Iterable<Session> {
    return this.#byClientId.values();
  }

  describe(): readonly LiveSession[] {
    return [...this.#byClientId.values()].filter((session) => !session.isEnded).map(describe);
  }

  /** Of the node of this name. */
  page(query: SessionQuery, node: string): NodeSessions {
    if (query.node !== undefined && query.node !== node) return { sessions: [], hasMore: false };
    const all = query.identity === undefined ? this.#byClientId.values() : this.ofIdentity(query.identity);
    const { items, hasMore } = firstAfter(all, (one) => (one.isEnded ? undefined : one.facts.clientId), query);
    return { sessions: items.map((session) => ({ ...describe(session), node })), hasMore };
  }

  add(session: Session): void {
    const { clientId, subject } = session.facts;
    this.#byClientId.set(clientId, session);
    const key = formatIdentity(subject.identity);
    const known = this.#byIdentity.get(key);
    if (known === undefined) this.#byIdentity.set(key, new Set([session]));
    else known.add(session);
  }

  remove(session: Session): void {
    const { clientId, subject } = session.facts;
    if (this.#byClientId.get(clientId) === session) this.#byClientId.delete(clientId);
    const key = formatIdentity(subject.identity);
    const known = this.#byIdentity.get(key);
    known?.delete(session);
    if (known?.size === 0) this.#byIdentity.delete(key);
  }

  /** Counts a takeover. False: this client id has reached its limit per minute. */
  mayTakeOver(clientId: string, now: number): boolean {
    return this.#takeovers.admits(clientId, now);
  }

  sweep(now: number): void {
    this.#takeovers.sweep(now);
  }
}

function describe({ eventFields, facts: { connectedAt, notAfter } }: Session): LiveSession {
  return { ...eventFields, connectedAt, notAfter };
}
