/**
 * Sessions that outlive their connection: owner and rights of each, when it expires, and since when its client is disconnected. Limited in
 * number per owner and in lifetime. Their queues and subscriptions are in `broker/session-store/`.
 */

import type { Rights, Subject } from '../access/acl.ts';
import type { SessionStore, StoredSession } from '../session-store/session-store.ts';
import type { ClaimedSession, SessionClaim } from './sessions.ts';

/** What a claim found; the epoch is different for each session of a client id, and the same as long as the session goes on. */
export interface FoundSession extends Omit<ClaimedSession, 'record' | 'sequence'> {
  readonly epoch: number;
}

interface PersistentSession {
  readonly owner: string;
  subject: Subject;
  /** The subject as stored: JSON. */
  about: string;
  rights: Rights;
  /** Seconds after the disconnection. */
  expiry: number;
  /** Undefined while the client is connected. */
  awaySince: number | undefined;
  readonly epoch: number;
}

/** A persistent session whose rights can be replaced after a change of its policy or subject. */
export interface PersistentSessionHandle {
  readonly clientId: string;
  readonly subject: Subject;
  setRights(rights: Rights, subject?: Subject): void;
}

export interface PersistentSessionsOptions {
  readonly store: SessionStore;
  /** Milliseconds; no session is stored for longer after its client has disconnected. */
  readonly longestExpiry: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Sessions per owner: a service chooses its client ids. The oldest disconnected one is removed first. */
const SESSIONS_PER_OWNER = 100;

/** Expired sessions removed per sweep: each causes dozens of changes to be written. */
const EXPIRED_PER_SWEEP = 100;

export class PersistentSessions {
  /** A session is about to be discarded, with everything that is stored for it. */
  onEnding: (clientId: string) => void = () => {};
  /** A session has ended, other than by a new connection with Clean Start. */
  onEnded: (clientId: string) => void = () => {};
  #lastEpoch = 0;
  readonly #options: PersistentSessionsOptions;
  readonly #sessions = new Map<string, PersistentSession>();
  readonly #byOwner = new Map<string, Set<string>>();

  constructor(options: PersistentSessionsOptions) {
    this.#options = options;
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

  epochOf(clientId: string): number | undefined {
    return this.#sessions.get(clientId)?.epoch;
  }

  /** Seconds after the end of its connection; undefined: there is no such session. */
  expiryOf(clientId: string): number | undefined {
    return this.#sessions.get(clientId)?.expiry;
  }

  /** Whether its client is connected. */
  isConnected(clientId: string): boolean {
    const session = this.#sessions.get(clientId);
    return session !== undefined && session.awaySince === undefined;
  }

  owners(): Iterable<string> {
    return this.#byOwner.keys();
  }

  clientIds(): Iterable<string> {
    return this.#sessions.keys();
  }

  /** Loads what an earlier run stored. */
  load(rightsOf: (subject: Subject) => Promise<Rights>): Promise<void> {
    return this.adopt(this.#options.store.storedSessions(), rightsOf);
  }

  /** Adds sessions that the store has loaded. Unreadable ones are removed. */
  async adopt(rows: readonly StoredSession[], rightsOf: (subject: Subject) => Promise<Rights>): Promise<void> {
    const { store } = this.#options;
    const now = this.#options.now();
    for (const row of rows) {
      const subject = readSubject(row);
      if (subject === undefined) store.removeSession(row.clientId);
      else {
        const rights = await rightsOf(subject);
        // A client that was connected when the server ended counts as disconnected from now.
        if (row.awaySince === undefined) store.setAway(row.clientId, now);
        const awaySince = Math.min(row.awaySince ?? now, now);
        this.#add(row.clientId, { ...row, subject, rights, awaySince, epoch: this.#nextEpoch() });
      }
    }
  }

  /** Another node has the session from now on; the store has to forget it. */
  forget(clientId: string): void {
    const session = this.#sessions.get(clientId);
    if (session === undefined) return;
    this.#sessions.delete(clientId);
    const own = this.#byOwner.get(session.owner);
    own?.delete(clientId);
    if (own?.size === 0) this.#byOwner.delete(session.owner);
  }

  async claim(claim: SessionClaim): Promise<FoundSession> {
    const { clientId, owner, cleanStart, sessionExpiryInterval } = claim;
    let known = this.#sessions.get(clientId);
    // Client ids of two services may overlap; neither gets what belongs to the other.
    if (known !== undefined && (cleanStart || known.owner !== owner || this.#isExpired(known))) {
      this.#remove(clientId, known);
      known = undefined;
    }
    if (known === undefined && sessionExpiryInterval === 0) {
      return { isPresent: false, isStored: false, subscriptions: [], epoch: 0 };
    }
    if (known !== undefined) this.#resume(claim, known);
    const { epoch } = known ?? this.#create(claim);
    const subscriptions = this.#options.store.subscriptionsOf(clientId);
    return { isPresent: known !== undefined, isStored: true, subscriptions: [...subscriptions], epoch };
  }

  async release(clientId: string, sessionExpiryInterval: number): Promise<void> {
    const session = this.#sessions.get(clientId);
    if (session === undefined) return;
    if (sessionExpiryInterval === 0) {
      this.#end(clientId, session);
      return;
    }
    const { store, now } = this.#options;
    session.awaySince = now();
    store.setAway(clientId, session.awaySince);
    if (session.expiry === sessionExpiryInterval) return;
    session.expiry = sessionExpiryInterval;
    store.setExpiry(clientId, sessionExpiryInterval);
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
          this.#put(clientId, session);
        },
      };
    }
  }

  /** Removes all sessions of an owner with their queues. */
  purge(owner: string): void {
    for (const clientId of [...(this.#byOwner.get(owner) ?? [])]) {
      this.#end(clientId, this.#sessions.get(clientId) as PersistentSession);
    }
  }

  /** Removes sessions that have expired; a limited number per call. */
  sweep(): void {
    let removed = 0;
    for (const [clientId, session] of this.#sessions) {
      if (!this.#isExpired(session)) continue;
      this.#end(clientId, session);
      removed += 1;
      if (removed === EXPIRED_PER_SWEEP) return;
    }
  }

  #isExpired({ awaySince, expiry }: PersistentSession): boolean {
    const { now, longestExpiry } = this.#options;
    return awaySince !== undefined && now() - awaySince > Math.min(expiry * 1000, longestExpiry);
  }

  #create({ clientId, owner, subject, rights, sessionExpiryInterval: expiry }: SessionClaim): PersistentSession {
    const about = JSON.stringify(subject);
    const session = { owner, subject, about, rights, expiry, awaySince: undefined, epoch: this.#nextEpoch() };
    this.#put(clientId, session);
    const own = this.#add(clientId, session);
    if (own.size > SESSIONS_PER_OWNER) this.#removeOldest(own);
    return session;
  }

  #nextEpoch(): number {
    this.#lastEpoch += 1;
    return this.#lastEpoch;
  }

  #resume({ clientId, subject, rights, sessionExpiryInterval }: SessionClaim, known: PersistentSession): void {
    const { store } = this.#options;
    const about = JSON.stringify(subject);
    const isSame = known.about === about && known.expiry === sessionExpiryInterval;
    const wasAway = known.awaySince !== undefined;
    Object.assign(known, { subject, about, rights, expiry: sessionExpiryInterval, awaySince: undefined });
    if (!isSame) this.#put(clientId, known);
    else if (wasAway) store.setAway(clientId, undefined);
  }

  #put(clientId: string, { owner, about, expiry, awaySince }: PersistentSession): void {
    this.#options.store.putSession(clientId, owner, about, expiry, awaySince);
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
      this.#end(clientId, session);
      return;
    }
  }

  #end(clientId: string, session: PersistentSession): void {
    this.#remove(clientId, session);
    this.onEnded(clientId);
  }

  #remove(clientId: string, session: PersistentSession): void {
    this.onEnding(clientId);
    this.#sessions.delete(clientId);
    const own = this.#byOwner.get(session.owner);
    own?.delete(clientId);
    if (own?.size === 0) this.#byOwner.delete(session.owner);
    this.#options.store.removeSession(clientId);
  }
}

function readSubject({ about }: StoredSession): Subject | undefined {
  try {
    const subject = JSON.parse(about) as Subject;
    return subject.identity === undefined ? undefined : subject;
  } catch {
    return undefined;
  }
}
