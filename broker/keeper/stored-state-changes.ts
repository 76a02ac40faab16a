/** Applies a revocation, another change of an identity, or a changed policy to what is stored: sessions, wills, retained messages. */

import { formatIdentity, type PolicyScope } from '@rollcall/protocol';
import type { Subject } from '../access/acl.ts';
import { type PolicyResolver, scopesOf } from '../access/policy-resolver.ts';
import type { SessionChange } from '../routing/bus.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import { isImmediate } from '../sessions/session-termination.ts';
import type { MessagePersistence } from './message-persistence.ts';
import type { PersistentSessions } from './persistent-sessions.ts';
import type { Wills } from './wills.ts';

export interface StoredStateChangesOptions {
  readonly store: SessionStore;
  readonly persistentSessions: PersistentSessions;
  readonly persistence: MessagePersistence;
  readonly wills: Wills;
  readonly policies: PolicyResolver;
}

export class StoredStateChanges {
  readonly #options: StoredStateChangesOptions;
  /** The latest change per identity, while one is being applied. */
  readonly #latest = new Map<string, symbol>();

  constructor(options: StoredStateChangesOptions) {
    this.#options = options;
  }

  /**
   * Applies a change together with the nodes. `applied` settles when they have ended the sessions that the change ends: what a session
   * leaves behind is deleted after that. Resolves when the change is on disk.
   */
  async apply(change: SessionChange, applied: Promise<unknown>): Promise<void> {
    if (change.kind === 'reauthorize') return this.#reauthorize(change.subject);
    await applied;
    if (change.kind === 'disconnect certificate') return;
    const { wills, persistentSessions, persistence, store } = this.#options;
    const owner = formatIdentity(change.identity);
    if (isImmediate(change.reason)) await wills.dropOwner(owner);
    if (change.reason !== 'revoked') return;
    persistentSessions.purge(owner);
    persistence.purge(owner);
    await store.durable();
  }

  /** To be called when the policies of the resolver have changed. */
  async policyChanged(scope: PolicyScope): Promise<void> {
    const { persistentSessions, policies } = this.#options;
    for (const persistent of [...persistentSessions.handles()]) {
      if (scopesOf(persistent.subject).includes(scope)) {
        persistent.setRights(await policies.currentRightsOf(persistent.subject));
      }
    }
  }

  async #reauthorize(subject: Subject): Promise<void> {
    const { wills, policies, persistentSessions } = this.#options;
    const owner = formatIdentity(subject.identity);
    // Pending wills were authorized by rights that quarantine removes.
    if (subject.isQuarantined === true) void wills.dropOwner(owner);
    else wills.setSubject(owner, subject);
    const change = Symbol(owner);
    this.#latest.set(owner, change);
    const rights = await policies.currentRightsOf(subject);
    if (this.#latest.get(owner) !== change) return;
    for (const persistent of persistentSessions.handles()) {
      if (formatIdentity(persistent.subject.identity) === owner) persistent.setRights(rights, subject);
    }
    this.#latest.delete(owner);
  }
}
