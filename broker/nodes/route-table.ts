/**
 * Which filters have receivers on which node, kept by the keeper: its own look-up of the nodes that get a message, and the changes that
 * every node is told, so that a node knows by itself whether a message has to leave it.
 */

import { FilterTree } from '../session-store/filter-tree.ts';
import type { RouteChange } from './node-calls.ts';

/** Tells a node about changes. Resolves when the node has applied them, or has ended. */
export type TellRoutes = (changes: readonly RouteChange[]) => Promise<void>;

/** Filters whose changes are told. */
export type FilterSource = Pick<FilterTree<never>, 'filters' | 'onFilter'>;

interface LiveRoute {
  readonly node: string;
}

/** Connected subscriptions of one node to one filter. */
interface Counts {
  /** They receive every message by delivery. */
  all: number;
  /** They receive those of QoS 1 and 2 from a stored queue. */
  qos0: number;
}

class RoutedNode {
  readonly name: string;
  readonly filters = new Map<string, Counts>();
  readonly #tell: TellRoutes;
  /** Changes that go together after those that are under way. */
  #changes: RouteChange[] = [];
  #underWay = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(name: string, tell: TellRoutes) {
    this.name = name;
    this.#tell = tell;
  }

  add(change: RouteChange): void {
    this.#changes.push(change);
    this.#next ??= this.#underWay.then(() => this.#tellNext());
  }

  /** Resolves when the node knows everything that was added so far; it does not wait for what is added later. */
  confirmed(): Promise<void> {
    return this.#next ?? this.#underWay;
  }

  #tellNext(): Promise<void> {
    const changes = this.#changes;
    this.#changes = [];
    this.#next = undefined;
    this.#underWay = this.#tell(changes);
    return this.#underWay;
  }
}

export class RouteTable {
  readonly #nodes = new Map<string, RoutedNode>();
  readonly #all = new FilterTree<LiveRoute>(({ node }) => node);
  readonly #qos0 = new FilterTree<LiveRoute>(({ node }) => node);
  readonly #sources = new Map<string, { readonly kind: RouteChange['kind']; readonly filters: FilterSource }>();

  /** Filters that belong to no node. Every change of the tree is told to all nodes. */
  addSource(source: string, kind: RouteChange['kind'], filters: FilterSource): void {
    this.#sources.set(source, { kind, filters });
    filters.onFilter = (filter, isThere) => this.#tellAll({ filter, kind, source, isThere });
  }

  /** The node is told everything that there is. */
  addNode(name: string, tell: TellRoutes): void {
    const node = new RoutedNode(name, tell);
    for (const [source, { kind, filters }] of this.#sources) {
      for (const filter of filters.filters()) node.add({ filter, kind, source, isThere: true });
    }
    for (const other of this.#nodes.values()) {
      for (const filter of other.filters.keys()) node.add({ filter, kind: 'live', source: other.name, isThere: true });
    }
    this.#nodes.set(name, node);
  }

  removeNode(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    this.#nodes.delete(name);
    for (const filter of node.filters.keys()) {
      this.#all.removeStored(filter, name);
      this.#qos0.removeStored(filter, name);
      this.#tellAll({ filter, kind: 'live', source: name, isThere: false });
    }
  }

  /** A connected session of a node subscribes. `isQueued`: its messages of QoS 1 and 2 come from its stored queue. */
  add(name: string, filter: string, { isQueued }: { readonly isQueued: boolean }): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    let counts = node.filters.get(filter);
    if (counts === undefined) {
      counts = { all: 0, qos0: 0 };
      node.filters.set(filter, counts);
      this.#tellAll({ filter, kind: 'live', source: name, isThere: true }, node);
    }
    if (isQueued) {
      counts.qos0 += 1;
      if (counts.qos0 === 1) this.#qos0.addStored(filter, { node: name });
    } else {
      counts.all += 1;
      if (counts.all === 1) this.#all.addStored(filter, { node: name });
    }
  }

  /** Once for each {@link add}. */
  remove(name: string, filter: string, { isQueued }: { readonly isQueued: boolean }): void {
    const node = this.#nodes.get(name);
    const counts = node?.filters.get(filter);
    if (node === undefined || counts === undefined) return;
    if (isQueued) {
      counts.qos0 -= 1;
      if (counts.qos0 === 0) this.#qos0.removeStored(filter, name);
    } else {
      counts.all -= 1;
      if (counts.all === 0) this.#all.removeStored(filter, name);
    }
    if (counts.all + counts.qos0 > 0) return;
    node.filters.delete(filter);
    this.#tellAll({ filter, kind: 'live', source: name, isThere: false }, node);
  }

  hasLive(topic: string): boolean {
    return this.#all.hasMatch(topic) || this.#qos0.hasMatch(topic);
  }

  /** The nodes with connected sessions that a message has to be delivered to. */
  nodesFor(topic: string, qos: number): ReadonlySet<string> {
    const nodes = new Set<string>();
    for (const { node } of this.#all.matching(topic)) nodes.add(node);
    if (qos === 0) for (const { node } of this.#qos0.matching(topic)) nodes.add(node);
    return nodes;
  }

  /** Resolves when every node knows all routes so far. */
  async confirmed(): Promise<void> {
    await Promise.all([...this.#nodes.values()].map((node) => node.confirmed()));
  }

  #tellAll(change: RouteChange, except?: RoutedNode): void {
    for (const node of this.#nodes.values()) if (node !== except) node.add(change);
  }
}
