/** The limit on takeovers per minute and client id. */

const MINUTE_MS = 60_000;

export class TakeoverLimit {
  readonly #takeovers = new Map<string, { since: number; count: number }>();
  readonly #perMinute: number;

  /** 0: no limit. */
  constructor(perMinute: number) {
    this.#perMinute = perMinute;
  }

  /** Counts a takeover. False: this client id has reached its limit. */
  admits(clientId: string, now: number): boolean {
    if (this.#perMinute === 0) return true;
    const known = this.#takeovers.get(clientId);
    if (known === undefined || now - known.since >= MINUTE_MS || now < known.since) {
      this.#takeovers.set(clientId, { since: now, count: 1 });
      return true;
    }
    known.count += 1;
    return known.count <= this.#perMinute;
  }

  sweep(now: number): void {
    for (const [clientId, { since }] of this.#takeovers) {
      if (now - since >= MINUTE_MS) this.#takeovers.delete(clientId);
    }
  }
}
