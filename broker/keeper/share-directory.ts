/** Which sessions, connected or away, are members of which shared subscriptions, with what decides whether they may be chosen. */

import { isShared } from '@rollcall/protocol';
import type { Message } from '../mqtt/message.ts';
import type { FilterTree } from '../session-store/filter-tree.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { ConnectedClients } from './connected-clients.ts';
import type { PersistentSessions } from './persistent-sessions.ts';
import { type ShareChoice, SharedSubscriptions, type ShareMember } from './shared-subscriptions.ts';

export interface ShareDirectoryOptions {
  readonly store: Pick<SessionStore, 'queueOf' | 'subscriptionsOf'>;
  readonly persistentSessions: Pick<PersistentSessions, 'rightsOf' | 'clientIds'>;
  readonly connected: ConnectedClients;
  /** Messages in the queue of a session that is away from which on it has no room. */
  readonly queuedMessages: number;
}

export class ShareDirectory {
  readonly #options: ShareDirectoryOptions;
  readonly #shared = new SharedSubscriptions();

  constructor(options: ShareDirectoryOptions) {
    this.#options = options;
  }

  /** Members whose sessions were stored by an earlier run. */
  addStored(): void {
    const { persistentSessions, store } = this.#options;
    for (const clientId of persistentSessions.clientIds()) this.join(clientId, store.subscriptionsOf(clientId));
  }

  /** Changes whenever an answer of `hasMatch` may change. */
  get generation(): number {
    return this.#shared.generation;
  }

  /** The filters of all shared subscriptions. */
  get filters(): FilterTree<unknown> {
    return this.#shared.filters;
  }

  hasMatch(topic: string): boolean {
    return this.#shared.hasMatch(topic);
  }

  /** One receiver for each shared subscription that matches; undefined: none does. */
  choose(message: Message): readonly ShareChoice[] | undefined {
    return this.#shared.hasMatch(message.topic) ? this.#shared.choose(message) : undefined;
  }

  /** As {@link SharedSubscriptions.members} and {@link SharedSubscriptions.chooseIn}. */
  members(): ReturnType<SharedSubscriptions['members']> {
    return this.#shared.members();
  }

  chooseIn(share: string, message: Message): ShareMember | undefined {
    return this.#shared.chooseIn(share, message);
  }

  hasMember(share: string, clientId: string): boolean {
    return this.#shared.hasMember(share, clientId);
  }

  /** As {@link SharedSubscriptions.chooseOther}. */
  chooseOther(share: string, message: Message, leaving: string): ShareMember | undefined {
    return this.#shared.chooseOther(share, message, leaving);
  }

  /** To be called again whenever its client reconnects. Subscriptions that are not shared are passed over. */
  join(clientId: string, subscriptions: Iterable<StoredSubscription>): void {
    for (const subscription of subscriptions) {
      if (isShared(subscription.filter)) this.#shared.add(subscription.filter, this.#memberOf(clientId, subscription));
    }
  }

  leave(clientId: string, filters: readonly string[]): void {
    for (const filter of filters) this.#shared.remove(filter, clientId);
  }

  removeClient(clientId: string): void {
    this.#shared.removeClient(clientId);
  }

  #memberOf(clientId: string, { qos, subscriptionIdentifier, retainAsPublished }: StoredSubscription): ShareMember {
    const { connected, persistentSessions, store, queuedMessages } = this.#options;
    return {
      clientId,
      qos,
      subscriptionIdentifier,
      retainAsPublished,
      isConnected: () => connected.find(clientId)?.isEnded === false,
      mayReceive: (topic) => {
        const rights = connected.find(clientId)?.rights ?? persistentSessions.rightsOf(clientId);
        return rights?.mayReceive(topic).allowed === true;
      },
      isBehind: () => {
        const client = connected.find(clientId);
        return client?.isBehind ?? store.queueOf(clientId, { isStored: true }).size >= queuedMessages;
      },
    };
  }
}
