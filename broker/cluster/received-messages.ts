/** Applies what other nodes send: messages for sessions of this node, and what they say of routes, shares and moving sessions. */

import { filterMatches } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { MessagePersistence, PersistOptions } from '../keeper/message-persistence.ts';
import type { ShareDirectory } from '../keeper/share-directory.ts';
import type { Message } from '../mqtt/message.ts';
import type { Bus } from '../routing/bus.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { ClusterClaims } from './cluster-claims.ts';
import type { ClusterRoutes } from './cluster-routes.ts';
import type { ClusterShares } from './cluster-shares.ts';
import type { EarlyMessage, MovingSessions } from './moving-sessions.ts';
import type { NodeMessage, Origin } from './node-message.ts';
import type { NodeRequests } from './node-requests.ts';
import type { Outbox } from './outbox.ts';
import type { RetainedReplicas } from './retained-replicas.ts';

export interface ReceivedMessagesOptions {
  readonly store: SessionStore;
  readonly persistence: MessagePersistence;
  readonly localShares: ShareDirectory;
  readonly shares: ClusterShares;
  readonly routes: ClusterRoutes;
  readonly claims: ClusterClaims;
  readonly moving: MovingSessions;
  readonly outbox: Outbox;
  /** Names of the other nodes that live. */
  readonly others: () => readonly string[];
  readonly router: MessageRouter;
  readonly bus: Bus;
  /** The owner was revoked lately: nothing of it is delivered any more. */
  readonly isRevoked: (owner: string) => boolean;
  readonly replicas: Pick<RetainedReplicas, 'received'>;
  readonly nodeGone: (node: string) => void;
  readonly requests: Pick<NodeRequests, 'requested' | 'responded'>;
  readonly log: Logger;
}

type Sent = Extract<NodeMessage, { readonly kind: 'message' }>;

/** A message for a share goes to so many nodes, at most, that have no member any more. */
const MOST_HOPS = 3;

export class ReceivedMessages {
  readonly #options: ReceivedMessagesOptions;

  constructor(options: ReceivedMessagesOptions) {
    this.#options = options;
  }

  /** `isAdopted`: it was for a node that is dead, and is for the sessions that were adopted from it alone. */
  apply(sent: NodeMessage, from: string, number: number, isAdopted: boolean): void {
    const { routes, shares, claims, nodeGone, requests } = this.#options;
    if (sent.kind === 'message') {
      const isForAll = sent.share === undefined && sent.moved === undefined && !isAdopted;
      if (sent.message.retain && isForAll) this.#options.replicas.received(sent.message.topic, from);
      const origin = sent.moved ?? { node: from, number };
      if (isAdopted && sent.share === undefined) this.#passOn(sent, origin);
      this.#message(sent, origin, isAdopted || sent.moved !== undefined);
      return;
    }
    if (isAdopted) return; // What was said to the dead node is of no use to this one.
    switch (sent.kind) {
      case 'routes':
        routes.apply(from, sent.added, sent.removed);
        break;
      case 'shares':
        shares.apply(from, sent.shares);
        break;
      case 'handed over':
        claims.received(sent);
        break;
      case 'node gone':
        nodeGone(sent.node);
        break;
      case 'request':
        void requests.requested(from, number, sent);
        break;
      case 'response':
        requests.responded(from, sent);
    }
  }

  /** Queues what came for a session while its rows were read. */
  queueEarly(clientId: string, early: readonly EarlyMessage[]): void {
    for (const { message, owner, origin } of early) this.#queueFor([clientId], message, owner, origin);
  }

  /** The session of a message for a dead node may be another node's by now. */
  #passOn({ message, owner }: Sent, moved: Origin): void {
    this.#options.outbox.send(this.#options.others(), { kind: 'message', message, owner, moved });
  }

  #message({ message: sent, owner, share, hops = 0 }: Sent, origin: Origin, isForwarded: boolean): void {
    const { moving, outbox, router, isRevoked } = this.#options;
    if (isRevoked(owner)) return;
    const message: Message = { ...sent, number: router.nextNumber() };
    if (share !== undefined) {
      this.#shared(message, owner, share, hops);
      return;
    }
    if (!moving.isEmpty) {
      moving.hold({ message, owner, origin });
      const further = moving.nodesFor(message.topic);
      if (further.size > 0) outbox.send(further, { kind: 'message', message, owner, moved: origin });
    }
    if (isForwarded) {
      this.#queueFor(undefined, message, owner, origin);
      return;
    }
    const isFor = moving.isEmpty ? undefined : (clientId: string) => moving.admits(clientId, origin);
    this.#persist(message, { owner, shares: undefined, isFor });
    router.deliver(message, undefined);
  }

  /** For sessions that have arrived lately: all of them, or these. */
  #queueFor(clientIds: readonly string[] | undefined, message: Message, owner: string, origin: Origin): void {
    const { moving, store, bus } = this.#options;
    const queued: string[] = [];
    const isFor = (clientId: string) => {
      const isOne = clientIds?.includes(clientId) ?? moving.hasArrived(clientId);
      if (!isOne || !moving.admits(clientId, origin)) return false;
      queued.push(clientId);
      return true;
    };
    this.#persist({ ...message, retain: false }, { owner, shares: undefined, isFor });
    for (const clientId of queued) {
      const own = store.subscriptionsOf(clientId).find(({ filter }) => filterMatches(filter, message.topic));
      if (own !== undefined) bus.tellMember(message, own.filter, { ...ANYONE, clientId, qos: own.qos });
    }
  }

  #shared(message: Message, owner: string, share: string, hops: number): void {
    const { localShares, shares, outbox, bus } = this.#options;
    const member = localShares.chooseIn(share, message);
    if (member === undefined) {
      const other = hops < MOST_HOPS ? shares.nodeFor(share) : undefined;
      if (other !== undefined) outbox.send([other], { kind: 'message', message, owner, share, hops: hops + 1 });
      return;
    }
    // As a retained message it has come, or comes, by itself.
    const isFor = () => false;
    this.#persist(message, { owner, shares: [{ share, member, isQueued: false }], isFor, isForQueuesOnly: true });
    bus.tellMember(message, share, member);
  }

  #persist(message: Message, options: Pick<PersistOptions, 'owner' | 'shares' | 'isFor' | 'isForQueuesOnly'>): void {
    const { persistence, log } = this.#options;
    persistence
      .persist(message, { ...options, isInJournal: true, isReplica: true })
      ?.catch((error: unknown) => log.debug({ err: error }, 'a message of another node waits to be stored'));
  }
}

/** For a session whose queue has grown: it sends what is in it. */
const ANYONE = {
  retainAsPublished: false,
  subscriptionIdentifier: undefined,
  isConnected: () => true,
  mayReceive: () => true,
  isBehind: () => false,
} as const;
