/** The bus of a server with several nodes: messages and changes go to the nodes that they concern, and to the server itself. */

import type { TerminationReport } from '../../registry/index.ts';
import type { Subject } from '../access/acl.ts';
import type { ShareChoice, ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import type { Bus, SessionChange } from '../routing/bus.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { AttachedNode } from './attached-node.ts';
import type { NodeClients } from './node-client.ts';
import type { RouteTable } from './route-table.ts';

export interface NodesBusOptions {
  readonly clients: NodeClients;
  readonly routes: RouteTable;
  /** Milliseconds in which a node has to apply a change; `onSilent` ends one that has not. */
  readonly silentAfter: number;
  readonly onSilent: (node: string) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Delivers to what the server itself listens to. */
  readonly router: Pick<MessageRouter, 'deliver'>;
}

export class NodesBus implements Bus {
  /** Applies a change to what is stored; `applied` settles when all nodes have applied it. */
  onChange: (change: SessionChange, applied: Promise<unknown>) => Promise<void> = () =>
    Promise.reject(new Error('not open'));
  /** The member that was chosen for a message has left, and no queue has the message. */
  onMemberGone: (message: Message, share: string, member: Pick<ShareMember, 'clientId'>) => void = () => {};
  readonly #options: NodesBusOptions;
  readonly #nodes = new Map<string, AttachedNode>();

  constructor(options: NodesBusOptions) {
    this.#options = options;
  }

  nodes(): Iterable<AttachedNode> {
    return this.#nodes.values();
  }

  node(name: string): AttachedNode | undefined {
    return this.#nodes.get(name);
  }

  add(node: AttachedNode): void {
    this.#nodes.set(node.name, node);
  }

  remove(node: AttachedNode): void {
    if (this.#nodes.get(node.name) === node) this.#nodes.delete(node.name);
  }

  tell(message: Message, shares: readonly ShareChoice[] | undefined, done: () => void = ignore): void {
    this.deliverFrom(undefined, message, shares).then(done, done);
  }

  /** Resolves when all receivers have the message. `from`: the node that has delivered it to its own sessions. */
  async deliverFrom(
    from: string | undefined,
    message: Message,
    shares: readonly ShareChoice[] | undefined,
  ): Promise<undefined> {
    const { routes, router } = this.#options;
    const waits: Promise<unknown>[] = [];
    for (const choice of shares ?? []) {
      const told = this.#tellChoice(message, choice.share, choice.member, choice.isQueued);
      if (told !== undefined) waits.push(told);
    }
    for (const name of routes.nodesFor(message.topic, message.qos)) {
      if (name !== from) waits.push(this.#nodes.get(name)?.channel.call('deliver', message).catch(ignore) ?? NOTHING);
    }
    waits.push(new Promise<void>((resolve) => router.deliver(message, undefined, resolve)));
    await Promise.all(waits);
    return undefined;
  }

  tellMember(message: Message, share: string, member: ShareMember): void {
    void this.#tellChoice(message, share, member, true);
  }

  async confirm(change: SessionChange): Promise<readonly TerminationReport[]> {
    const applied = Promise.all([...this.#nodes.values()].map((node) => this.#apply(node, change)));
    await Promise.all([applied, this.onChange(change, applied)]);
    // Until a node has applied the change, it may claim sessions with the subject of before.
    if (change.kind === 'reauthorize') await this.subjectChanged(change.subject);
    return applied;
  }

  /** Applies a changed subject to what is stored, and to what is known of connected clients. */
  subjectChanged(subject: Subject): Promise<void> {
    return this.onChange({ kind: 'reauthorize', subject }, NOTHING);
  }

  /** The sessions of a node that has ended have ended with it. */
  #apply(node: AttachedNode, change: SessionChange): Promise<TerminationReport> {
    const identity = change.kind === 'reauthorize' ? change.subject.identity : change.identity;
    const connected = this.#options.clients.ofIdentity(identity).filter((client) => client.node === node.name).length;
    const { silentAfter, onSilent, now } = this.#options;
    const { name } = node;
    // A node that does not answer may still serve the sessions: its connections have to end with it.
    const timer = setTimeout(() => onSilent(name), silentAfter);
    const confirmed = (report: TerminationReport): TerminationReport => {
      return { ...report, nodes: [{ name, state: 'confirmed', confirmedAt: now() }] };
    };
    const ended = (): TerminationReport => {
      const sessionsClosed = change.kind === 'reauthorize' ? 0 : connected;
      return { sessionsClosed, lastMessageAt: undefined, nodes: [{ name, state: 'closed', closedBy: now() }] };
    };
    return node.channel
      .call('apply', change)
      .then(confirmed, ended)
      .finally(() => clearTimeout(timer));
  }

  /** Resolves when the node has the message; undefined: nothing has to be told. */
  #tellChoice(message: Message, share: string, member: ShareMember, isQueued: boolean): Promise<unknown> | undefined {
    const client = this.#options.clients.find(member.clientId);
    if (client === undefined || client.isEnded) {
      if (!isQueued) this.onMemberGone(message, share, member);
      return undefined;
    }
    // What is queued for a stored session reaches its node with its queue.
    if (client.isStored && Math.min(member.qos, message.qos) > 0) return undefined;
    const { clientId, qos, retainAsPublished, subscriptionIdentifier } = member;
    const chosen = { clientId, qos, retainAsPublished, subscriptionIdentifier };
    const { channel } = this.#nodes.get(client.node) ?? {};
    return channel?.call('deliverShared', { message, share, member: chosen, isQueued }).catch(ignore);
  }
}

const NOTHING = Promise.resolve();

function ignore(): undefined {
  return undefined;
}
