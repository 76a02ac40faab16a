/**
 * Sessions that outlive their connections (MQTT clean session 0): whose each is, what it may, and since when its client is
 * away. So many per owner, and for so long. What waits in them is the business of `broker/session-store/`.
 */

import type { Rights, Subject } from '../access/acl.ts';
import type { SessionStore, StoredSessionRow } from '../session-store/session-store.ts';

interface PersistentSession {
  readonly owner: string;
  subject: Subject;
  /** The subject, as it is written down. */
  about: string;
  rights: Rights;
  /** Undefined while it is connected. */
  awaySince: number | undefined;
}

/** A session whose rights have to be compiled again after a change of policy, or of whom it belongs to. */
export interface PersistentSessionHandle {
  readonly clientId: string;
  readonly subject: Subject;
  setRights(rights: Rights, subject?: Subject): void;
}

/** Sessions kept per owner; a service may choose its client ids. The oldest gives way. */
const SESSIONS_PER_OWNER = 100;

/** Expired sessions forgotten per sweep: each is some dozens of changes to be written. */
const EXPIRED_PER_SWEEP = 100;

export class PersistentSessions {
  readonly #memory: SessionStore;
  readonly #kept = new Map<string, PersistentSession>();
  readonly #keptBy = new Map<string, Set<string>>();

  constructor(memory: SessionStore) {
    this.#memory = memory;
  }

  get size(): number {
    return this.#kept.size;
  }

  has(clientId: string): boolean {
    return this.#kept.has(clientId);
  }

  rightsOf(clientId: string): Rights | undefined {
    return this.#kept.get(clientId)?.rights;
  }

  ownerOf(clientId: string): string | undefined {
    return this.#kept.get(clientId)?.owner;
  }

  /** Its client is here. */
  isConnected(clientId: string): boolean {
    const kept = this.#kept.get(clientId);
    return kept !== undefined && kept.awaySince === undefined;
  }

  owners(): Iterable<string> {
    return this.#keptBy.keys();
  }

  /** Takes over what an earlier run kept. Who can't be read again is forgotten. */
  async load(rightsOf: (subject: Subject) => Promise<Rights>, now: number): Promise<void> {
    for (const row of this.#memory.storedSessions()) {
      const subject = subjectIn(row);
      if (subject === undefined) this.#memory.removeSession(row.clientId);
      else {
        const rights = await rightsOf(subject);
        // Who was connected when the server ended is away since now.
        this.#add(row.clientId, { ...row, subject, rights, awaySince: Math.min(row.awaySince ?? now, now) });
      }
    }
  }

  /** A client has connected; what it leaves behind is kept unless it asked for a clean session. */
  clientConnected(clientId: string, owner: string, subject: Subject, rights: Rights, clean: boolean): void {
    const known = this.#kept.get(clientId);
    if (clean) {
      if (known !== undefined) this.#forget(clientId, known);
      return;
    }
    const about = JSON.stringify(subject);
    if (known !== undefined && known.about === about && known.owner === owner) {
      known.rights = rights;
      if (known.awaySince !== undefined) this.#memory.setAway(clientId, undefined);
      known.awaySince = undefined;
      return;
    }
    if (known !== undefined) this.#release(clientId, known);
    this.#memory.putSession(clientId, owner, about);
    const own = this.#add(clientId, { owner, subject, about, rights, awaySince: undefined });
    if (own.size > SESSIONS_PER_OWNER) this.#forgetOldest(own);
  }

  clientDisconnected(clientId: string, now: number): void {
    const kept = this.#kept.get(clientId);
    if (kept === undefined) return;
    kept.awaySince = now;
    this.#memory.setAway(clientId, now);
  }

  *handles(): Iterable<PersistentSessionHandle> {
    for (const [clientId, kept] of this.#kept) {
      yield {
        clientId,
        subject: kept.subject,
        setRights: (rights, subject) => {
          kept.rights = rights;
          if (subject === undefined) return;
          kept.subject = subject;
          kept.about = JSON.stringify(subject);
          this.#memory.putSession(clientId, kept.owner, kept.about, kept.awaySince);
        },
      };
    }
  }

  /** Forgets all sessions of an owner, and what waits in them. */
  purge(owner: string): void {
    for (const clientId of [...(this.#keptBy.get(owner) ?? [])]) {
      this.#forget(clientId, this.#kept.get(clientId) as PersistentSession);
    }
  }

  /** Forgets sessions whose clients have been away for longer than `expiry`, in ms; some at a time. */
  sweep(now: number, expiry: number): void {
    let forgotten = 0;
    for (const [clientId, kept] of this.#kept) {
      if (kept.awaySince === undefined || now - kept.awaySince <= expiry) continue;
      this.#forget(clientId, kept);
      forgotten += 1;
      if (forgotten === EXPIRED_PER_SWEEP) return;
    }
  }

  #add(clientId: string, kept: PersistentSession): Set<string> {
    this.#kept.set(clientId, kept);
    const own = this.#keptBy.get(kept.owner) ?? new Set();
    this.#keptBy.set(kept.owner, own.add(clientId));
    return own;
  }

  #forgetOldest(own: ReadonlySet<string>): void {
    for (const clientId of own) {
      const kept = this.#kept.get(clientId);
      if (kept?.awaySince === undefined) continue;
      this.#forget(clientId, kept);
      return;
    }
  }

  #release(clientId: string, kept: PersistentSession): void {
    this.#kept.delete(clientId);
    const own = this.#keptBy.get(kept.owner);
    own?.delete(clientId);
    if (own?.size === 0) this.#keptBy.delete(kept.owner);
  }

  #forget(clientId: string, kept: PersistentSession): void {
    this.#release(clientId, kept);
    this.#memory.removeSession(clientId);
  }
}

function subjectIn({ about }: StoredSessionRow): Subject | undefined {
  try {
    const subject = JSON.parse(about) as Subject;
    return subject.identity === undefined ? undefined : subject;
  } catch {
    return undefined;
  }
}
