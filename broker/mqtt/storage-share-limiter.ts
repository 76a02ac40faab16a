/**
 * Leaves PUBLISH packets of a device unread while the device or its group exceeds its share of the journal. Other packets of the
 * device are processed, and nothing that was received is lost.
 */

import type { Session } from '../sessions/session.ts';

/** The part of the journal that knows shares. */
export interface StorageShares {
  isHeld(device: string, group: string | undefined): boolean;
  /** Calls the listener when an answer changed, for one device or for all. Returns the function that stops it. */
  listen(listener: { changed(device: string | undefined): void }): () => void;
}

export interface StorageShareLimiterOptions {
  readonly shares: StorageShares | undefined;
  readonly sessions: () => Iterable<Session>;
  readonly find: (clientId: string) => Session | undefined;
}

export class StorageShareLimiter {
  readonly #options: StorageShareLimiterOptions;
  readonly #held = new Set<Session>();
  readonly #stop: (() => void) | undefined;

  constructor(options: StorageShareLimiterOptions) {
    this.#options = options;
    this.#stop = options.shares?.listen({
      changed: (device) => {
        const session = device === undefined ? undefined : options.find(device);
        if (session !== undefined) this.update(session);
        else if (device === undefined) this.updateAll();
      },
    });
  }

  /** Sessions whose PUBLISH packets are left unread. */
  get heldSessions(): number {
    return this.#held.size;
  }

  /** Called when a session starts or its group changed. */
  update(session: Session): void {
    const { identity, group } = session.facts.subject;
    const isHeld =
      !session.isEnded && identity.kind === 'device' && this.#options.shares?.isHeld(identity.id, group) === true;
    if (isHeld === this.#held.has(session)) return;
    if (isHeld) this.#held.add(session);
    else this.#held.delete(session);
    session.holdsPublishes = isHeld;
    if (!isHeld) session.connection.continueReading();
  }

  /** Called periodically: a device that was moved to another group may be within its share again. */
  sweep(): void {
    for (const session of this.#held) this.update(session);
  }

  updateAll(): void {
    for (const session of this.#options.sessions()) this.update(session);
  }

  sessionEnded(session: Session): void {
    this.#held.delete(session);
  }

  stop(): void {
    this.#stop?.();
  }
}
