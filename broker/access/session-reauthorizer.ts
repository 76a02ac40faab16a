/**
 * Holds live sessions to what they may do now, when a policy, a group, a label or a quarantine has changed: who may no
 * longer connect is ended, subscriptions that are no longer allowed are taken away, and both are said.
 */

import type { Logger } from 'pino';
import type { AedesPersistence } from '../routing/aedes-persistence.ts';
import type { Session } from '../sessions/session.ts';
import type { PolicyResolver } from './policy-resolver.ts';

export interface SessionReauthorizerOptions {
  readonly policies: PolicyResolver;
  readonly persistence: AedesPersistence;
  readonly log: Logger;
  /** A subscription was taken away. */
  readonly withdrawn: (session: Session, filter: string) => void;
}

export class SessionReauthorizer {
  readonly #options: SessionReauthorizerOptions;

  constructor(options: SessionReauthorizerOptions) {
    this.#options = options;
  }

  /** Resolves when the session is held to the policies of now and to the subject that it is now. */
  async reauthorize(session: Session): Promise<void> {
    const { policies, log } = this.#options;
    for (;;) {
      const { subject, clientId } = session.facts;
      const { version } = policies;
      try {
        const rights = await policies.rightsOf(subject);
        // Whoever changed something while we waited may have been faster than we were.
        if (session.facts.subject !== subject || policies.version !== version) continue;
        if (session.isEnded) return;
        session.rights = rights;
      } catch (error) {
        log.error({ err: error, clientId }, 'policy could not be read');
        session.end('server_error');
        return;
      }
      if (!session.rights.mayConnect(clientId).allowed) session.end('policy_changed');
      else this.#withdraw(session);
      return;
    }
  }

  /** Unsubscribes a session from what it may no longer hear. */
  #withdraw(session: Session): void {
    const { persistence, log, withdrawn } = this.#options;
    const { aedesClient, rights, facts } = session;
    if (aedesClient === undefined || session.isEnded) return;
    const lost = Object.keys(aedesClient.subscriptions).filter((filter) => !rights.maySubscribe(filter).allowed);
    if (lost.length === 0) return;
    aedesClient.unsubscribe({ cmd: 'unsubscribe', unsubscriptions: lost } as never, () => {});
    for (const filter of lost) {
      session.filters.delete(filter);
      withdrawn(session, filter);
    }
    log.info({ ...session.logFields, filters: lost.length }, 'subscriptions withdrawn');
    persistence.removeSubscriptions({ id: facts.clientId }, lost).catch((error: unknown) => {
      log.error({ err: error, clientId: facts.clientId }, 'subscriptions could not be removed');
    });
  }
}
