/**
 * The state of sessions of a server with several nodes over one database. Each session belongs to one node, which has it in memory as a
 * single server has; this adds how a session comes to the node of its connection, and how messages reach those of other nodes.
 */

import type { Takeover } from '../access/clone-detector.ts';
import type { EmbeddedSessions } from '../keeper/embedded-sessions.ts';
import type { ClaimedSession, EnqueueOptions, RetainedRoom, SessionClaim, Sessions } from '../keeper/sessions.ts';
import type { ShareChoice } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import { ownShares } from './cluster-bus.ts';
import type { ClusterClaims } from './cluster-claims.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { ClusterRecord } from './cluster-record.ts';
import type { ClusterRoutes } from './cluster-routes.ts';
import { type ClusterShares, NodeOfMembers } from './cluster-shares.ts';
import type { ConnectionNumbers } from './connection-numbers.ts';
import type { MovingSessions } from './moving-sessions.ts';
import type { Outbox } from './outbox.ts';

export interface ClusterSessionsOptions {
  readonly embedded: EmbeddedSessions;
  readonly claims: ClusterClaims;
  readonly nodes: ClusterNodes;
  readonly routes: ClusterRoutes;
  readonly shares: ClusterShares;
  readonly moving: MovingSessions;
  readonly outbox: Outbox;
  readonly numbers: ConnectionNumbers;
  /** There is something of the client that is stored. */
  readonly hasRows: (clientId: string) => boolean;
  /** False: too many changes wait for the database. */
  readonly hasRoom: () => boolean;
  /** A message of QoS 0 for other nodes was dropped. */
  readonly dropped: () => void;
  /** This node retains a message, or removes one. */
  readonly retains: (topic: string) => void;
  /** Tells the other nodes which shared subscriptions have members here. */
  readonly publishShares: () => Promise<void>;
  readonly tookOver: (takeover: Takeover) => void;
  readonly connectionOf: (clientId: string) => { readonly address: string; readonly serial: string } | undefined;
}

export class ClusterSessions implements Sessions {
  readonly #options: ClusterSessionsOptions;
  /** The last connection of each client id that claimed it here: the end of an earlier one leaves the claim to it. */
  readonly #lastClaims = new Map<string, SessionClaim>();

  constructor(options: ClusterSessionsOptions) {
    this.#options = options;
  }

  choose(message: Message): readonly ShareChoice[] | undefined {
    return this.#options.shares.choose(message);
  }

  async claim(claim: SessionClaim): Promise<ClaimedSession> {
    this.#lastClaims.set(claim.clientId, claim);
    try {
      return await this.#claim(claim);
    } catch (error) {
      this.#isLast(claim);
      throw error;
    }
  }

  async #claim(claim: SessionClaim): Promise<ClaimedSession> {
    const { embedded, claims, numbers, routes, publishShares, hasRows } = this.#options;
    const { clientId } = claim;
    const handedOver = await claims.own(clientId, claim.claimant);
    if (handedOver !== undefined) {
      numbers.seen(handedOver.sequence);
      if (handedOver.from !== undefined) this.#reportTakeover(claim, handedOver.from);
    }
    const claimed = await embedded.claim(claim);
    // What is sent to the former node of the session is forwarded until every node knows better.
    await Promise.all([handedOver === undefined ? routes.published() : undefined, publishShares()]);
    const left = () => {
      // Its will belongs to it: until that is published, no other node has the next connection of the client.
      if (this.#isLast(claim) && !claimed.isStored && !hasRows(clientId)) claims.leave(clientId);
    };
    return { ...claimed, record: new ClusterRecord(claimed.record, { routes, publishShares, left }) };
  }

  /** For a connection that has ended. */
  #isLast(claim: SessionClaim): boolean {
    if (this.#lastClaims.get(claim.clientId) !== claim) return false;
    return this.#lastClaims.delete(claim.clientId);
  }

  /** For other nodes the message is stored with the same commit. */
  enqueue(message: Message, options: EnqueueOptions): Promise<void> | undefined {
    const { embedded } = this.#options;
    const own: EnqueueOptions = { ...options, shares: ownShares(options.shares) };
    if (message.retain) this.#options.retains(message.topic);
    if (message.qos === 0 && !message.retain) return embedded.enqueue(message, own); // `send` follows.
    const others = this.#othersFor(message, options.shares);
    if (others === undefined) return embedded.enqueue(message, own);
    const together = () => others.send(options.owner);
    return embedded.enqueueTogether(message, { ...own, isInJournal: true }, together);
  }

  /** A message of QoS 0 that `enqueue` has not sent. It is dropped while too much waits for the database: no client waits for it. */
  send(message: Message, shares: readonly ShareChoice[] | undefined): void {
    if (message.retain) return;
    const others = this.#othersFor(message, shares);
    if (others === undefined) return;
    if (this.#options.hasRoom()) others.send('');
    else this.#options.dropped();
  }

  mayRetain(topic: string, bytes: number, owner: string): boolean {
    return this.#options.embedded.mayRetain(topic, bytes, owner);
  }

  retained(filter: string, room: () => RetainedRoom): AsyncIterable<readonly Message[]> {
    return this.#options.embedded.retained(filter, room);
  }

  #othersFor(
    message: Message,
    shares: readonly ShareChoice[] | undefined,
  ): { readonly send: (owner: string) => void } | undefined {
    const { routes, nodes, moving, outbox } = this.#options;
    const direct = routes.nodesFor(message.topic);
    // Every node has all retained messages.
    if (message.retain) for (const { name, isAlive } of nodes.others()) if (isAlive) direct.add(name);
    const forwarded = moving.isEmpty ? [] : [...moving.nodesFor(message.topic)].filter((node) => !direct.has(node));
    const chosen = (shares ?? []).filter(({ member }) => member instanceof NodeOfMembers);
    if (direct.size + forwarded.length + chosen.length === 0) return undefined;
    return {
      send: (owner) => {
        const number = outbox.send(direct, { kind: 'message', message, owner });
        const moved = { node: nodes.name, number };
        if (forwarded.length > 0) outbox.send(forwarded, { kind: 'message', message, owner, moved });
        sendToMembers(outbox, message, owner, chosen);
      },
    };
  }

  #reportTakeover(
    { clientId, subject }: SessionClaim,
    from: { readonly address: string; readonly serial: string },
  ): void {
    const { connectionOf, tookOver } = this.#options;
    const to = connectionOf(clientId);
    if (to === undefined) return;
    const { identity } = subject;
    tookOver({ identity, clientId, from: from.address, fromSerial: from.serial, to: to.address, toSerial: to.serial });
  }
}

/** For members of shared subscriptions on other nodes, which choose one each. */
export function sendToMembers(
  outbox: Pick<Outbox, 'send'>,
  message: Message,
  owner: string,
  shares: readonly ShareChoice[] | undefined,
): void {
  for (const { share, member } of shares ?? []) {
    if (member instanceof NodeOfMembers) outbox.send([member.node], { kind: 'message', message, owner, share });
  }
}
