/**
 * What a member of a shared subscription did not acknowledge when it left goes to another member that is connected (MQTT 5, 4.8.2). Without
 * one it stays in the queue of a persistent session.
 */

import type { Message } from '../mqtt/message.ts';
import type { MessagePersistence } from '../routing/message-persistence.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { ShareMember } from '../routing/shared-subscriptions.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { LiveSessions } from './live-sessions.ts';
import type { Session } from './session.ts';

export interface SharedRedeliveryOptions {
  readonly store: SessionStore;
  readonly router: MessageRouter;
  readonly persistence: MessagePersistence;
  readonly sessions: LiveSessions;
}

export class SharedRedelivery {
  readonly #options: SharedRedeliveryOptions;

  constructor(options: SharedRedeliveryOptions) {
    this.#options = options;
  }

  /** `staysStored`: the session goes on without a connection. */
  leave({ facts: { clientId }, owner }: Session, { staysStored }: { readonly staysStored: boolean }): void {
    const { store, router } = this.#options;
    for (const { message, share, ...delivery } of store.moveShared(clientId)) {
      if (share === undefined) continue;
      const other = router.shared.chooseOther(share, message, clientId);
      if (other !== undefined && (!staysStored || other.isConnected())) this.#send(message, share, other);
      else if (staysStored) store.enqueue([{ ...delivery, clientId, owner, share, isConnected: false }], message);
    }
  }

  #send(message: Message, share: string, member: ShareMember): void {
    const { persistence, sessions } = this.#options;
    persistence.enqueueShared(message, { member, share });
    sessions.find(member.clientId)?.receiveShared(message, share, member);
  }
}
