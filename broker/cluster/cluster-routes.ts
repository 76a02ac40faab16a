/** Which filters have receivers on which node, known to every node: each tells the others what it has, and stores it for nodes to come. */

import type { FilterSource } from '../nodes/route-table.ts';
import type { Routes } from '../routing/routes.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { AbsentNodes, Missed } from './absent-nodes.ts';
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
  readonly absent: Pick<AbsentNodes, 'routesChanged'>;
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
  #underWay = Promise.resolve();
  /** That of the changes which are not under way yet. */
  #next: Promise<void> | undefined;

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

  /** Resolves when every node that lives knows the routes of this one so far; it does not wait for what is added later. */
  published(): Promise<void> {
    return this.#next ?? this.#underWay;
  }

  /** Tells a node what it has missed. */
  tellMissed(node: string, { routes, isAll }: Pick<Missed, 'routes' | 'isAll'>): void {
    const of = (isThere: boolean) => [...routes].filter((one) => one[1] === isThere).map(([filter]) => filter);
    const added = isAll ? [...this.#own.keys()] : of(true);
    const removed = of(false);
    if (added.length + removed.length > 0) this.#options.outbox.send([node], { kind: 'routes', added, removed });
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

  /** What is added while changes are under way goes together after them. */
  #publish(): void {
    if (this.#next !== undefined) return;
    const next = this.#underWay.catch(() => {}).then(() => this.#publishNext());
    next.catch(() => {}); // Those that wait for it get the error.
    this.#next = next;
  }

  #publishNext(): Promise<void> {
    this.#next = undefined;
    const publishing = this.#publishChanges();
    this.#underWay = publishing;
    // What failed stays in the commits: those that come later do not get the error of then.
    publishing.catch(() => {
      if (this.#underWay === publishing) this.#underWay = Promise.resolve();
    });
    return publishing;
  }

  async #publishChanges(): Promise<void> {
    const { nodes, outbox, commits, absent } = this.#options;
    const [added, removed] = [[...this.#added], [...this.#removed]];
    this.#added = new Set();
    this.#removed = new Set();
    if (added.length + removed.length === 0) return;
    const change = (name: 'putRoute' | 'dropRoute', filter: string) =>
      commits.add({ name, values: [nodes.name, filter] }, filter.length + 100);
    for (const filter of added) change('putRoute', filter);
    for (const filter of removed) change('dropRoute', filter);
    absent.routesChanged(added, removed);
    const alive = nodes.others().flatMap(({ name, isAlive }) => (isAlive ? [name] : []));
    await outbox.applied(outbox.send(alive, { kind: 'routes', added, removed }));
  }
}
