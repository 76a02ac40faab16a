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
import type { PersistentSessions } from './persistent-sessions.ts';

export interface SharedRedeliveryOptions {
  readonly store: SessionStore;
  readonly router: MessageRouter;
  readonly persistence: MessagePersistence;
  readonly sessions: LiveSessions;
  readonly persistentSessions: PersistentSessions;
}

export class SharedRedelivery {
  readonly #options: SharedRedeliveryOptions;

  constructor(options: SharedRedeliveryOptions) {
    this.#options = options;
  }

  /** `staysStored`: the session goes on without a connection. */
  leave(clientId: string, { staysStored }: { readonly staysStored: boolean }): void {
    const { store, router } = this.#options;
    const others = new Map<number, ShareMember>();
    const moved = store.moveShared(clientId, ({ message, share }) => {
      const other = share === undefined ? undefined : router.shared.chooseOther(share, message, clientId);
      if (other === undefined || (staysStored && !other.isConnected())) return false;
      others.set(message.number, other);
      return true;
    });
    for (const { message, share } of moved) {
      const other = others.get(message.number);
      if (share !== undefined && other !== undefined) this.#send(message, share, other);
    }
  }

  /** A member that was chosen for a message has left. The queue of a persistent session has the message; otherwise another gets it. */
  memberGone(message: Message, share: string, { clientId, qos }: ShareMember): void {
    const { router, persistentSessions } = this.#options;
    if (Math.min(qos, message.qos) > 0 && persistentSessions.has(clientId)) return;
    const other = router.shared.chooseOther(share, message, clientId);
    if (other !== undefined) this.#send(message, share, other);
  }

  #send(message: Message, share: string, member: ShareMember): void {
    const { persistence, sessions } = this.#options;
    persistence.enqueueShared(message, { member, share });
    sessions.find(member.clientId)?.receiveShared(message, share, member);
  }
}
