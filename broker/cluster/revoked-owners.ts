/** Owners that were revoked lately: a message of them that another node had stored before is not delivered any more. */

/** No message between nodes takes so long, in ms. */
const REMEMBERED_MS = 60_000;

export class RevokedOwners {
  readonly #until = new Map<string, number>();

  add(owner: string): void {
    this.#until.set(owner, performance.now() + REMEMBERED_MS);
  }

  has(owner: string): boolean {
    const until = this.#until.get(owner);
    return until !== undefined && until > performance.now();
  }

  sweep(): void {
    const now = performance.now();
    for (const [owner, until] of this.#until) if (until < now) this.#until.delete(owner);
  }
}
