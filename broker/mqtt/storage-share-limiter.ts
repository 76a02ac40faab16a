import type { Identity } from '@rollcall/protocol';
import type { Session } from '../sessions/session.ts';

/** What the broker asks the journal. */
export interface StorageShares {
  isHeld(device: string, group: string | undefined): boolean;
  /** Calls the listener when an answer changed: for one device, or for any. Returns the way to stop. */
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
        if (session !== undefined) this.judge(session);
        else if (device === undefined) this.judgeAll();
      },
    });
  }

  /** Sessions whose messages wait. */
  get held(): number {
    return this.#held.size;
  }

  /** Whether a message that has no session any more, a will, may be stored. */
  mayStore(identity: Identity, group: string | undefined): boolean {
    return identity.kind !== 'device' || this.#options.shares?.isHeld(identity.id, group) !== true;
  }

  /** Of a session that begins, or whose group changed. */
  judge(session: Session): void {
    const { identity, group } = session.facts.subject;
    const isHeld = !session.isEnded && !this.mayStore(identity, group);
    if (isHeld === this.#held.has(session)) return;
    if (isHeld) this.#held.add(session);
    else this.#held.delete(session);
    session.wire.holdPublishes(isHeld);
  }

  /** Now and then as well: a device that was moved to another group may be free. */
  sweep(): void {
    for (const session of this.#held) this.judge(session);
  }

  judgeAll(): void {
    for (const session of this.#options.sessions()) this.judge(session);
  }

  ended(session: Session): void {
    this.#held.delete(session);
  }

  stop(): void {
    this.#stop?.();
  }
}
