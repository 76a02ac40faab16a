/**
 * What a member of a shared subscription did not acknowledge when it left goes to another member (MQTT 5, 4.8.2): to one that is connected
 * while its own session goes on, which otherwise sends it again; to any when that has ended.
 */

import type { Message } from '../mqtt/message.ts';
import type { Bus } from '../routing/bus.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { MessagePersistence } from './message-persistence.ts';
import type { ShareDirectory } from './share-directory.ts';
import type { ShareMember } from './shared-subscriptions.ts';

/** Sends a message, with the next commit, to a node with another member. False: there is none. */
export type SendElsewhere = (
  message: Message,
  share: string,
  options: { readonly mustBeConnected: boolean },
) => boolean;

export interface SharedRedeliveryOptions {
  readonly store: SessionStore;
  readonly shares: ShareDirectory;
  readonly persistence: MessagePersistence;
  readonly bus: Pick<Bus, 'tellMember'>;
  readonly elsewhere?: SendElsewhere | undefined;
}

export class SharedRedelivery {
  readonly #options: SharedRedeliveryOptions;

  constructor(options: SharedRedeliveryOptions) {
    this.#options = options;
  }

  /** A client has disconnected, or its session ends; then it is not a member any more. */
  left(clientId: string): void {
    this.#options.store.moveShared(
      clientId,
      ({ message, share }) => share !== undefined && this.#sendToOther(message, share, clientId),
    );
  }

  /** The member that was chosen for a message has left before its delivery, and no queue has the message. */
  memberGone(message: Message, share: string, { clientId }: Pick<ShareMember, 'clientId'>): void {
    this.#sendToOther(message, share, clientId);
  }

  #sendToOther(message: Message, share: string, leaving: string): boolean {
    const other = this.#options.shares.chooseOther(share, message, leaving);
    if (other === undefined) {
      const { elsewhere, shares } = this.#options;
      return elsewhere?.(message, share, { mustBeConnected: shares.hasMember(share, leaving) }) === true;
    }
    this.#send(message, share, other);
    return true;
  }

  #send(message: Message, share: string, member: ShareMember): void {
    const { persistence, bus } = this.#options;
    persistence.enqueueShared(message, { member, share });
    bus.tellMember(message, share, member);
  }
}
