/** The routes of one node of several: what the keeper told it about receivers that are not connected to it. */

import type { Routes } from '../routing/routes.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { RouteChange } from './node-calls.ts';

interface Source {
  readonly source: string;
}

export class NodeRoutes implements Routes {
  readonly #queued = new FilterTree<Source>(({ source }) => source);
  readonly #live = new FilterTree<Source>(({ source }) => source);

  get generation(): number {
    return this.#queued.generation + this.#live.generation;
  }

  isQueued(topic: string): boolean {
    return this.#queued.hasMatch(topic);
  }

  hasReceiver(topic: string): boolean {
    return this.#queued.hasMatch(topic) || this.#live.hasMatch(topic);
  }

  apply(changes: readonly RouteChange[]): void {
    for (const { filter, kind, source, isThere } of changes) {
      const tree = kind === 'queued' ? this.#queued : this.#live;
      if (isThere) tree.addStored(filter, { source });
      else tree.removeStored(filter, source);
    }
  }
}
