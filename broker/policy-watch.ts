/** Applies a change of policy to those it concerns: live sessions, and what is kept for sessions that are away. */

import type { Logger } from 'pino';
import { type PolicyScope, policyScopes } from '../contract/policy.ts';
import type { Rights, Subject } from './acl.ts';
import type { Policies, PolicyDirectory } from './policies.ts';
import type { Session } from './session.ts';
import type { SessionStore } from './session-store.ts';
import type { Sessions } from './sessions.ts';

export interface PolicyWatchOptions {
  readonly directory: PolicyDirectory;
  readonly policies: Policies;
  readonly sessions: Sessions;
  readonly store: SessionStore;
  readonly log: Logger;
}

/** Returns the way to stop. */
export function watchPolicies({ directory, policies, sessions, store, log }: PolicyWatchOptions): () => void {
  return directory.onPolicyChange((scope) => {
    policies.forget(scope);
    apply(scope).catch((error: unknown) => log.error({ err: error, scope }, 'policy could not be applied'));
  });

  async function apply(scope: PolicyScope): Promise<void> {
    const concerns = (subject: Subject) => policyScopes(subject.identity, subject.group).includes(scope);
    for (const session of [...sessions.all()]) {
      if (!concerns(session.facts.subject) || session.isEnded) continue;
      let rights: Rights;
      try {
        rights = await policies.rightsOf(session.facts.subject);
      } catch (error) {
        log.error({ err: error, clientId: session.facts.clientId }, 'policy could not be read');
        session.end('server_error');
        continue;
      }
      session.rights = rights;
      if (!rights.mayConnect(session.facts.clientId).allowed) session.end('policy_changed');
      else withdraw(session);
    }
    for (const kept of [...store.keptSessions()]) {
      if (concerns(kept.subject)) kept.setRights(await policies.rightsOf(kept.subject));
    }
  }

  /** Unsubscribes a session from what it may no longer hear. */
  function withdraw(session: Session): void {
    const { engine, rights, facts } = session;
    if (engine === undefined || session.isEnded) return;
    const lost = Object.keys(engine.subscriptions).filter((filter) => !rights.maySubscribe(filter).allowed);
    if (lost.length === 0) return;
    engine.unsubscribe({ cmd: 'unsubscribe', unsubscriptions: lost } as never, () => {});
    for (const filter of lost) session.filters.delete(filter);
    store.removeSubscriptions({ id: facts.clientId }, lost).catch((error: unknown) => {
      log.error({ err: error, clientId: facts.clientId }, 'subscriptions could not be removed');
    });
  }
}
