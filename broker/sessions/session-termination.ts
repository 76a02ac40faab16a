/**
 * Ends sessions after a revocation, a suspension or another change of a device, and reports what ended. Pending connections are
 * decided again, and a revoked identity loses everything stored for it.
 */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { TerminationReport } from '../../registry/index.ts';
import type { Subject } from '../access/acl.ts';
import type { ConnectionAuthorizer } from '../access/connection-authorizer.ts';
import type { PolicyResolver } from '../access/policy-resolver.ts';
import type { SessionReauthorizer } from '../access/session-reauthorizer.ts';
import type { DisconnectReason } from '../events.ts';
import type { MessagePersistence } from '../keeper/message-persistence.ts';
import type { PersistentSessions } from '../keeper/persistent-sessions.ts';
import type { Wills } from '../keeper/wills.ts';
import type { SessionChange } from '../routing/bus.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { LiveSessions } from './live-sessions.ts';
import type { Session } from './session.ts';

/** Reasons that end a session at once: without another acknowledgement, and without its will. */
const IMMEDIATE: ReadonlySet<DisconnectReason> = new Set(['revoked', 'suspended']);

export interface SessionTerminationOptions {
  readonly authorizer: Pick<ConnectionAuthorizer, 'statusChanged'>;
  readonly sessions: LiveSessions;
  readonly persistentSessions: PersistentSessions;
  readonly persistence: MessagePersistence;
  readonly store: SessionStore;
  readonly wills: Wills;
  readonly policies: PolicyResolver;
  readonly reauthorizer: SessionReauthorizer;
}

export class SessionTermination {
  readonly #options: SessionTerminationOptions;
  /** The latest change per identity, while one is being applied. */
  readonly #latest = new Map<string, symbol>();

  constructor(options: SessionTerminationOptions) {
    this.#options = options;
  }

  apply(change: SessionChange): Promise<TerminationReport> {
    switch (change.kind) {
      case 'disconnect':
        return this.disconnect(change.identity, change.reason);
      case 'disconnect certificate':
        return this.disconnectCertificate(change.identity, change.serial);
      case 'reauthorize':
        return this.reauthorize(change.subject);
    }
  }

  /** Ends every session of an identity; with `revoked` also deletes everything stored for it. */
  async disconnect(identity: Identity, reason: DisconnectReason): Promise<TerminationReport> {
    const { authorizer, sessions, wills } = this.#options;
    const isImmediate = IMMEDIATE.has(reason);
    if (isImmediate) authorizer.statusChanged();
    const ended = sessions.ofIdentity(identity);
    for (const session of ended) {
      if (isImmediate) session.terminate(reason);
      else session.end(reason);
    }
    await Promise.all(ended.map((session) => session.whenFinished()));
    const owner = formatIdentity(identity);
    if (isImmediate) await wills.dropOwner(owner);
    if (reason === 'revoked') await this.#purge(owner);
    return reportOf(ended);
  }

  /** Ends the sessions that use this certificate. Stored state stays: it also belongs to the holder's other certificate. */
  async disconnectCertificate(identity: Identity, serial: string): Promise<TerminationReport> {
    const { authorizer, sessions } = this.#options;
    authorizer.statusChanged();
    const ended = sessions.ofIdentity(identity).filter((session) => session.facts.serial === serial);
    for (const session of ended) session.terminate('revoked');
    await Promise.all(ended.map((session) => session.whenFinished()));
    return reportOf(ended);
  }

  /** Applies a new group, new labels or a quarantine to the live and persistent sessions of an identity. */
  async reauthorize(subject: Subject): Promise<TerminationReport> {
    const { authorizer, sessions, persistentSessions, wills, policies, reauthorizer } = this.#options;
    authorizer.statusChanged();
    const key = formatIdentity(subject.identity);
    // Pending wills were authorized by rights that quarantine removes.
    if (subject.isQuarantined === true) void wills.dropOwner(key);
    else wills.setSubject(key, subject);
    const change = Symbol(key);
    this.#latest.set(key, change);
    const live = sessions.ofIdentity(subject.identity).filter((session) => !session.isEnded);
    for (const session of live) {
      // A device does not repeat subscriptions that quarantine removed, but it subscribes anew in a new session.
      const isReleased = session.facts.subject.isQuarantined === true && subject.isQuarantined !== true;
      session.facts = { ...session.facts, subject };
      if (isReleased) session.end('resumed');
    }
    await Promise.all(live.filter((session) => !session.isEnded).map((session) => reauthorizer.reauthorize(session)));
    const rights = await policies.rightsOf(subject);
    if (this.#latest.get(key) === change) {
      for (const persistent of persistentSessions.handles()) {
        if (formatIdentity(persistent.subject.identity) === key) persistent.setRights(rights, subject);
      }
      this.#latest.delete(key);
    }
    const ended = live.filter((session) => session.isEnded);
    await Promise.all(ended.map((session) => session.whenFinished()));
    return reportOf(ended);
  }

  /** Deletes sessions, queues and retained messages of an owner. Resolves when that is on disk. */
  async #purge(owner: string): Promise<void> {
    const { persistentSessions, persistence, store } = this.#options;
    persistentSessions.purge(owner);
    persistence.purge(owner);
    await store.durable();
  }
}

function reportOf(ended: readonly Session[]): TerminationReport {
  const times = ended.flatMap(({ lastMessageAt }) => (lastMessageAt === undefined ? [] : [lastMessageAt]));
  return { sessionsClosed: ended.length, lastMessageAt: times.length === 0 ? undefined : Math.max(...times) };
}
