/** Which filters have receivers on which node, known to every node: each tells the others what it has, and stores it for nodes to come. */

import type { FilterSource } from '../nodes/route-table.ts';
import type { Routes } from '../routing/routes.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import type { ClusterShares } from './cluster-shares.ts';
import type { MovingSessions } from './moving-sessions.ts';
import type { Outbox } from './outbox.ts';
import type { ClusterCommits } from './session-changes.ts';

export interface ClusterRoutesOptions {
  readonly nodes: ClusterNodes;
  readonly outbox: Outbox;
  readonly commits: ClusterCommits;
  readonly shares: Pick<ClusterShares, 'generation' | 'hasMatch'>;
  /** The routes of this node alone. */
  readonly local: Routes;
  readonly moving: Pick<MovingSessions, 'generation' | 'isEmpty' | 'nodesFor'>;
}

interface RemoteRoute {
  readonly node: string;
}

export class ClusterRoutes implements Routes {
  readonly #options: ClusterRoutesOptions;
  readonly #remote = new FilterTree<RemoteRoute>(({ node }) => node);
  readonly #byNode = new Map<string, Set<string>>();
  /** Of this node, with the number of sources that have a filter. */
  readonly #own = new Map<string, number>();
  #added = new Set<string>();
  #removed = new Set<string>();
  #publishing: Promise<void> | undefined;

  constructor(options: ClusterRoutesOptions) {
    this.#options = options;
  }

  get generation(): number {
    const { local, shares, moving } = this.#options;
    return local.generation + shares.generation + this.#remote.generation + moving.generation;
  }

  /** A message for another node is stored there before it is acknowledged, also for sessions that end with their connection. */
  isQueued(topic: string): boolean {
    const { local, shares, moving } = this.#options;
    if (local.isQueued(topic) || this.#remote.hasMatch(topic) || shares.hasMatch(topic)) return true;
    // For a session that is another node's by now, of which that node has not told yet.
    return !moving.isEmpty && moving.nodesFor(topic).size > 0;
  }

  hasReceiver(topic: string): boolean {
    return this.isQueued(topic) || this.#options.local.hasReceiver(topic);
  }

  nodesFor(topic: string): Set<string> {
    return new Set(this.#remote.matching(topic).map(({ node }) => node));
  }

  // What this node has.

  /** Publishes the filters of a tree, and each change of them. */
  publish(source: FilterSource): void {
    for (const filter of source.filters()) this.add(filter);
    source.onFilter = (filter, isThere) => {
      if (isThere) this.add(filter);
      else this.remove(filter);
    };
  }

  add(filter: string): void {
    const count = (this.#own.get(filter) ?? 0) + 1;
    this.#own.set(filter, count);
    if (count > 1) return;
    if (!this.#removed.delete(filter)) this.#added.add(filter);
    this.#publish();
  }

  /** Once for each {@link add}. */
  remove(filter: string): void {
    const count = (this.#own.get(filter) ?? 0) - 1;
    if (count > 0) {
      this.#own.set(filter, count);
      return;
    }
    this.#own.delete(filter);
    if (!this.#added.delete(filter)) this.#removed.add(filter);
    this.#publish();
  }

  /** Resolves when every node that lives knows the routes of this one so far. */
  published(): Promise<void> {
    return this.#publishing ?? Promise.resolve();
  }

  // What others have.

  apply(node: string, added: readonly string[], removed: readonly string[]): void {
    let own = this.#byNode.get(node);
    if (own === undefined) {
      own = new Set();
      this.#byNode.set(node, own);
    }
    for (const filter of removed) if (own.delete(filter)) this.#remote.removeStored(filter, node);
    for (const filter of added) {
      own.add(filter);
      this.#remote.addStored(filter, { node });
    }
  }

  forget(node: string): void {
    this.apply(node, [], [...(this.#byNode.get(node) ?? [])]);
    this.#byNode.delete(node);
  }

  #publish(): void {
    if (this.#publishing !== undefined) return;
    const publishing = this.#publishAll().finally(() => {
      if (this.#publishing === publishing) this.#publishing = undefined;
    });
    publishing.catch(() => {}); // Those that wait for it get the error.
    this.#publishing = publishing;
  }

  async #publishAll(): Promise<void> {
    await Promise.resolve();
    while (this.#added.size + this.#removed.size > 0) {
      const { nodes, outbox, commits } = this.#options;
      const [added, removed] = [[...this.#added], [...this.#removed]];
      this.#added = new Set();
      this.#removed = new Set();
      const change = (name: 'putRoute' | 'dropRoute', filter: string) =>
        commits.add({ name, values: [nodes.name, filter] }, filter.length + 100);
      for (const filter of added) change('putRoute', filter);
      for (const filter of removed) change('dropRoute', filter);
      const alive = nodes.others().filter(({ isAlive }) => isAlive);
      const number = outbox.send(
        alive.map(({ name }) => name),
        { kind: 'routes', added, removed },
      );
      await outbox.applied(number);
    }
  }
}
