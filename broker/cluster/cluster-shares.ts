/** Shared subscriptions with members on several nodes: first a node is chosen, which then chooses one of its members. */

import { parseShare } from '@rollcall/protocol';
import type { ShareDirectory } from '../keeper/share-directory.ts';
import type { ShareChoice, ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { ShareState } from './node-message.ts';

interface RemoteShare extends ShareState {
  readonly node: string;
}

/** In place of a member: the node that chooses one. */
export class NodeOfMembers implements ShareMember {
  readonly clientId = '';
  readonly qos = 2;
  readonly subscriptionIdentifier = undefined;
  readonly retainAsPublished = false;
  readonly node: string;

  constructor(node: string) {
    this.node = node;
  }

  isConnected(): boolean {
    return true;
  }

  mayReceive(): boolean {
    return true;
  }

  isBehind(): boolean {
    return false;
  }
}

export class ClusterShares {
  readonly #local: ShareDirectory;
  readonly #remote = new FilterTree<RemoteShare>(({ share, node }) => `${node} ${share}`);
  readonly #byNode = new Map<string, Map<string, RemoteShare>>();
  readonly #turns = new Map<string, number>();
  #published = new Map<string, ShareState>();

  constructor(local: ShareDirectory) {
    this.#local = local;
  }

  get generation(): number {
    return this.#remote.generation;
  }

  hasMatch(topic: string): boolean {
    return this.#remote.hasMatch(topic);
  }

  /** One receiver for each share that matches: a member on this node, or another node. Nodes with connected members take turns. */
  choose(message: Message): readonly ShareChoice[] | undefined {
    const local = this.#local.choose(message);
    const remote = this.#remote.matching(message.topic);
    if (remote.length === 0) return local;
    const choices: ShareChoice[] = [];
    for (const share of new Set([...(local ?? []), ...remote].map((one) => one.share))) {
      const own = local?.find((choice) => choice.share === share);
      const others = remote.filter((one) => one.share === share);
      const choice = this.#choose(message, share, own, others);
      if (choice !== undefined) choices.push(choice);
    }
    return choices;
  }

  /** A node with a member, for a share that this one has no member for; rather with a connected one. */
  nodeFor(share: string, mustBeConnected = false): string | undefined {
    const others = [...this.#byNode.values()].flatMap((shares) => shares.get(share) ?? []);
    const connected = others.find((one) => one.connected > 0);
    return (connected ?? (mustBeConnected ? undefined : others[0]))?.node;
  }

  /** What has changed on this node since the last call. */
  changes(): readonly ShareState[] {
    const now = new Map<string, ShareState>();
    for (const [share, members] of this.#local.members()) {
      let [connected, away] = [0, 0];
      for (const member of members) {
        if (member.isConnected()) connected += 1;
        else away += 1;
      }
      now.set(share, { share, connected, away });
    }
    const changed = [...now.values()].filter((state) => !isSame(state, this.#published.get(state.share)));
    for (const share of this.#published.keys()) if (!now.has(share)) changed.push({ share, connected: 0, away: 0 });
    this.#published = now;
    return changed;
  }

  /** All of this node, for a node that is new. */
  all(): readonly ShareState[] {
    return [...this.#published.values()];
  }

  apply(node: string, shares: readonly ShareState[]): void {
    const own = this.#byNode.get(node) ?? new Map<string, RemoteShare>();
    this.#byNode.set(node, own);
    for (const state of shares) {
      const filter = parseShare(state.share)?.filter;
      if (filter === undefined) continue;
      own.delete(state.share);
      this.#remote.removeStored(filter, `${node} ${state.share}`);
      if (state.connected + state.away === 0) {
        if (![...this.#byNode.values()].some((all) => all.has(state.share))) this.#turns.delete(state.share);
        continue;
      }
      const remote = { ...state, node };
      own.set(state.share, remote);
      this.#remote.addStored(filter, remote);
    }
  }

  forget(node: string): void {
    const shares = [...(this.#byNode.get(node)?.keys() ?? [])];
    this.apply(
      node,
      shares.map((share) => ({ share, connected: 0, away: 0 })),
    );
    this.#byNode.delete(node);
  }

  #choose(
    { qos }: Message,
    share: string,
    own: ShareChoice | undefined,
    others: readonly RemoteShare[],
  ): ShareChoice | undefined {
    const connected = others.filter((one) => one.connected > 0);
    const isOwnConnected = own?.member.isConnected() === true;
    const turns = connected.length + (isOwnConnected ? 1 : 0);
    if (turns > 0) {
      const turn = (this.#turns.get(share) ?? 0) % turns;
      this.#turns.set(share, turn + 1);
      const chosen = connected[turn];
      return chosen === undefined ? own : choiceOf(share, chosen.node);
    }
    const other = others[0];
    if (own !== undefined || other === undefined || qos === 0) return own;
    return choiceOf(share, other.node);
  }
}

function choiceOf(share: string, node: string): ShareChoice {
  return { share, member: new NodeOfMembers(node), isQueued: true };
}

function isSame(one: ShareState, other: ShareState | undefined): boolean {
  return one.connected === other?.connected && one.away === other.away;
}
