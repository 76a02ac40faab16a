/** The state of all sessions in this process, over the session store. */

import type { Rights, Subject } from '../access/acl.ts';
import type { Message } from '../mqtt/message.ts';
import type { MessagePersistence } from './message-persistence.ts';
import type { PersistentSessions } from './persistent-sessions.ts';
import type { ClaimedSession, EnqueueOptions, SessionClaim, Sessions } from './sessions.ts';

export class EmbeddedSessions implements Sessions {
  readonly #persistent: PersistentSessions;
  readonly #persistence: MessagePersistence;

  constructor(persistent: PersistentSessions, persistence: MessagePersistence) {
    this.#persistent = persistent;
    this.#persistence = persistence;
  }

  load(rightsOf: (subject: Subject) => Promise<Rights>): Promise<void> {
    return this.#persistent.load(rightsOf);
  }

  claim(claim: SessionClaim): Promise<ClaimedSession> {
    return this.#persistent.claim(claim);
  }

  release(clientId: string, sessionExpiryInterval: number): Promise<void> {
    return this.#persistent.release(clientId, sessionExpiryInterval);
  }

  enqueue(message: Message, options: EnqueueOptions): Promise<void> | undefined {
    return this.#persistence.persist(message, options);
  }
}
