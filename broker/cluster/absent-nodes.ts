/**
 * What nodes have missed that were taken for dead: one that comes back as the same process is told then. A process that is new reads the
 * tables instead.
 */

import type { ClusterNodes } from './cluster-nodes.ts';

export interface Missed {
  /** Filters of this node that came, or went. */
  readonly routes: Map<string, boolean>;
  /** Topics of messages that this node has retained or removed. */
  readonly topics: Set<string>;
  /** There were too many, or it is not known since when the node was absent. */
  isAll: boolean;
}

export interface AbsentNodesOptions {
  readonly nodes: Pick<ClusterNodes, 'others'>;
  /** A node is there that was not; `missed` undefined: a new process. */
  readonly appeared: (node: string, missed: Missed | undefined) => void;
}

interface Known {
  readonly epoch: number;
  /** Undefined while the node lives. */
  missed: Missed | undefined;
}

/** Filters and topics that are remembered for one node. */
const MOST = 10_000;

export class AbsentNodes {
  readonly #options: AbsentNodesOptions;
  readonly #known = new Map<string, Known>();

  constructor(options: AbsentNodesOptions) {
    this.#options = options;
  }

  /** To be called in the turn in which it is known which nodes live. */
  look(): void {
    const { nodes, appeared } = this.#options;
    for (const { name, epoch, isAlive } of nodes.others()) {
      const known = this.#known.get(name);
      const isSame = known?.epoch === epoch;
      if (!isAlive) {
        // What was fenced off comes back as a new process, which reads everything.
        if (!isSame) this.#known.set(name, { epoch, missed: { ...nothing(), isAll: true } });
        else known.missed ??= nothing();
        continue;
      }
      if (isSame && known.missed === undefined) continue;
      this.#known.set(name, { epoch, missed: undefined });
      appeared(name, isSame ? known.missed : undefined);
    }
  }

  routesChanged(added: readonly string[], removed: readonly string[]): void {
    for (const missed of this.#missing()) {
      for (const filter of removed) missed.routes.set(filter, false);
      for (const filter of added) missed.routes.set(filter, true);
      bound(missed);
    }
  }

  retained(topic: string): void {
    for (const missed of this.#missing()) {
      missed.topics.add(topic);
      bound(missed);
    }
  }

  *#missing(): Iterable<Missed> {
    for (const { missed } of this.#known.values()) if (missed?.isAll === false) yield missed;
  }
}

function nothing(): Missed {
  return { routes: new Map(), topics: new Set(), isAll: false };
}

function bound(missed: Missed): void {
  if (missed.routes.size + missed.topics.size <= MOST) return;
  missed.isAll = true;
  missed.routes.clear();
  missed.topics.clear();
}
