import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Session } from './session.ts';

const MINUTE_MS = 60_000;

export class LiveSessions {
  readonly #byClientId = new Map<string, Session>();
  readonly #byIdentity = new Map<string, Set<Session>>();
  readonly #takeovers = new Map<string, { since: number; count: number }>();
  readonly #takeoversPerMinute: number;

  constructor(takeoversPerMinute: number) {
    this.#takeoversPerMinute = takeoversPerMinute;
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

  /** Counts a takeover; false when this client id has had its share of this minute. */
  mayTakeOver(clientId: string, now: number): boolean {
    if (this.#takeoversPerMinute === 0) return true;
    const known = this.#takeovers.get(clientId);
    if (known === undefined || now - known.since >= MINUTE_MS || now < known.since) {
      this.#takeovers.set(clientId, { since: now, count: 1 });
      return true;
    }
    known.count += 1;
    return known.count <= this.#takeoversPerMinute;
  }

  sweep(now: number): void {
    for (const [clientId, { since }] of this.#takeovers) {
      if (now - since >= MINUTE_MS) this.#takeovers.delete(clientId);
    }
  }
}
