/**
 * Persistent sessions (MQTT clean session 0): owner and rights of each, and since when its client is disconnected. Limited in
 * number per owner and in lifetime. Their queues are in `broker/session-store/`.
 */

import type { Rights, Subject } from '../access/acl.ts';
import type { SessionStore, StoredSessionRow } from '../session-store/session-store.ts';

interface PersistentSession {
  readonly owner: string;
  subject: Subject;
  /** The subject as stored: JSON. */
  about: string;
  rights: Rights;
  /** Undefined while the client is connected. */
  awaySince: number | undefined;
}

/** A persistent session whose rights can be replaced after a change of its policy or subject. */
export interface PersistentSessionHandle {
  readonly clientId: string;
  readonly subject: Subject;
  setRights(rights: Rights, subject?: Subject): void;
}

/** Sessions per owner: a service chooses its client ids. The oldest disconnected one is removed first. */
const SESSIONS_PER_OWNER = 100;

/** Expired sessions removed per sweep: each causes dozens of changes to be written. */
const EXPIRED_PER_SWEEP = 100;

export class PersistentSessions {
  readonly #store: SessionStore;
  readonly #sessions = new Map<string, PersistentSession>();
  readonly #byOwner = new Map<string, Set<string>>();

  constructor(store: SessionStore) {
    this.#store = store;
  }

  get size(): number {
    return this.#sessions.size;
  }

  has(clientId: string): boolean {
    return this.#sessions.has(clientId);
  }

  rightsOf(clientId: string): Rights | undefined {
    return this.#sessions.get(clientId)?.rights;
  }

  ownerOf(clientId: string): string | undefined {
    return this.#sessions.get(clientId)?.owner;
  }

  /** Whether its client is connected. */
  isConnected(clientId: string): boolean {
    const session = this.#sessions.get(clientId);
    return session !== undefined && session.awaySince === undefined;
  }

  owners(): Iterable<string> {
    return this.#byOwner.keys();
  }

  /** Loads what an earlier run stored. Unreadable sessions are removed. */
  async load(rightsOf: (subject: Subject) => Promise<Rights>, now: number): Promise<void> {
    for (const row of this.#store.storedSessions()) {
      const subject = readSubject(row);
      if (subject === undefined) this.#store.removeSession(row.clientId);
      else {
        const rights = await rightsOf(subject);
        // A client that was connected when the server ended counts as disconnected from now.
        this.#add(row.clientId, { ...row, subject, rights, awaySince: Math.min(row.awaySince ?? now, now) });
      }
    }
  }

  /** A client has connected. Its session becomes persistent, or is removed if the client asked for a clean one. */
  clientConnected(clientId: string, owner: string, subject: Subject, rights: Rights, clean: boolean): void {
    const known = this.#sessions.get(clientId);
    if (clean) {
      if (known !== undefined) this.#remove(clientId, known);
      return;
    }
    const about = JSON.stringify(subject);
    if (known !== undefined && known.about === about && known.owner === owner) {
      known.rights = rights;
      if (known.awaySince !== undefined) this.#store.setAway(clientId, undefined);
      known.awaySince = undefined;
      return;
    }
    if (known !== undefined) this.#release(clientId, known);
    this.#store.putSession(clientId, owner, about);
    const own = this.#add(clientId, { owner, subject, about, rights, awaySince: undefined });
    if (own.size > SESSIONS_PER_OWNER) this.#removeOldest(own);
  }

  clientDisconnected(clientId: string, now: number): void {
    const session = this.#sessions.get(clientId);
    if (session === undefined) return;
    session.awaySince = now;
    this.#store.setAway(clientId, now);
  }

  *handles(): Iterable<PersistentSessionHandle> {
    for (const [clientId, session] of this.#sessions) {
      yield {
        clientId,
        subject: session.subject,
        setRights: (rights, subject) => {
          session.rights = rights;
          if (subject === undefined) return;
          session.subject = subject;
          session.about = JSON.stringify(subject);
          this.#store.putSession(clientId, session.owner, session.about, session.awaySince);
        },
      };
    }
  }

  /** Removes all sessions of an owner with their queues. */
  purge(owner: string): void {
    for (const clientId of [...(this.#byOwner.get(owner) ?? [])]) {
      this.#remove(clientId, this.#sessions.get(clientId) as PersistentSession);
    }
  }

  /** Removes sessions whose clients have been disconnected for longer than `expiry`, in ms; a limited number per call. */
  sweep(now: number, expiry: number): void {
    let removed = 0;
    for (const [clientId, session] of this.#sessions) {
      if (session.awaySince === undefined || now - session.awaySince <= expiry) continue;
      this.#remove(clientId, session);
      removed += 1;
      if (removed === EXPIRED_PER_SWEEP) return;
    }
  }

  #add(clientId: string, session: PersistentSession): Set<string> {
    this.#sessions.set(clientId, session);
    const own = this.#byOwner.get(session.owner) ?? new Set();
    this.#byOwner.set(session.owner, own.add(clientId));
    return own;
  }

  #removeOldest(own: ReadonlySet<string>): void {
    for (const clientId of own) {
      const session = this.#sessions.get(clientId);
      if (session?.awaySince === undefined) continue;
      this.#remove(clientId, session);
      return;
    }
  }

  #release(clientId: string, session: PersistentSession): void {
    this.#sessions.delete(clientId);
    const own = this.#byOwner.get(session.owner);
    own?.delete(clientId);
    if (own?.size === 0) this.#byOwner.delete(session.owner);
  }

  #remove(clientId: string, session: PersistentSession): void {
    this.#release(clientId, session);
    this.#store.removeSession(clientId);
  }
}

function readSubject({ about }: StoredSessionRow): Subject | undefined {
  try {
    const subject = JSON.parse(about) as Subject;
    return subject.identity === undefined ? undefined : subject;
  } catch {
    return undefined;
  }
}
