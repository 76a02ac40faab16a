/**
 * Applies changed rights to live sessions, after a change of a policy, group, label or quarantine. A session that may not
 * connect any more is ended. Subscriptions that are not allowed any more are removed and reported.
 */

import type { Logger } from 'pino';
import type { UnsubscribeHandler } from '../mqtt/handle-unsubscribe.ts';
import type { Session } from '../sessions/session.ts';
import type { PolicyResolver } from './policy-resolver.ts';

export interface SessionReauthorizerOptions {
  readonly policies: PolicyResolver;
  readonly unsubscribe: UnsubscribeHandler;
  readonly log: Logger;
  /** A subscription was removed. */
  readonly withdrawn: (session: Session, filter: string) => void;
}

export class SessionReauthorizer {
  readonly #options: SessionReauthorizerOptions;

  constructor(options: SessionReauthorizerOptions) {
    this.#options = options;
  }

  /** Resolves when the session has the rights that current policies give to its current subject. */
  async reauthorize(session: Session): Promise<void> {
    const { policies, log } = this.#options;
    for (;;) {
      const { subject, clientId } = session.facts;
      const { version } = policies;
      try {
        const rights = await policies.rightsOf(subject);
        // Subject or policy may have changed during the await.
        if (session.facts.subject !== subject || policies.version !== version) continue;
        if (session.isEnded) return;
        session.rights = rights;
      } catch (error) {
        log.error({ err: error, clientId }, 'policy could not be read');
        session.end('server_error');
        return;
      }
      if (!session.rights.mayConnect(clientId).allowed) {
        session.end(subject.isQuarantined === true ? 'quarantined' : 'policy_changed');
      } else this.#withdraw(session);
      return;
    }
  }

  /** Removes the subscriptions that the session may not have any more. */
  #withdraw(session: Session): void {
    const { unsubscribe, log, withdrawn } = this.#options;
    const { rights } = session;
    const removed = [...session.subscriptions.all()]
      .map(({ filter }) => filter)
      .filter((filter) => !rights.maySubscribe(filter).allowed);
    if (removed.length === 0) return;
    unsubscribe.remove(session, removed);
    for (const filter of removed) withdrawn(session, filter);
    log.info({ ...session.logFields, filters: removed.length }, 'subscriptions withdrawn');
  }
}
