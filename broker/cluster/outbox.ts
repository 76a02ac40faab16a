/** Messages of this node for others. They are stored with the other changes of the same commit, and in the order of the calls. */

import type { Wakes } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { encodeNodeMessage, type NodeMessage } from './node-message.ts';
import { appliedOf, type ClusterCommits } from './session-changes.ts';

export interface OutboxOptions {
  readonly database: PostgresDatabase;
  readonly nodes: ClusterNodes;
  readonly commits: ClusterCommits;
  readonly wakes: Wakes;
}

interface Waiter {
  readonly number: number;
  /** Nodes that lived when it was sent: one that comes later reads the tables, or is told what it missed. */
  readonly to: readonly string[];
  readonly resolve: () => void;
}

/** Numbers of one process: its epoch comes first, so that they grow from process to process. */
const PER_EPOCH = 2 ** 36;

/** A wake may be lost. */
const LOOK_AGAIN_MS = 100;

export class Outbox {
  readonly #options: OutboxOptions;
  #last: number;
  #waiters: Waiter[] = [];
  #isLooking = false;
  readonly #stop: () => void;

  constructor(options: OutboxOptions) {
    const { nodes, wakes } = options;
    this.#options = options;
    this.#last = nodes.epoch * PER_EPOCH;
    const stopWakes = wakes.onWake(appliedOf(nodes.name, nodes) as string, () => void this.#look());
    const timer = setInterval(() => void this.#look(), LOOK_AGAIN_MS).unref();
    this.#stop = () => {
      stopWakes();
      clearInterval(timer);
    };
  }

  /** The name of this node. */
  get name(): string {
    return this.#options.nodes.name;
  }

  /** The number of the last message. */
  get last(): number {
    return this.#last;
  }

  /** Returns the number of the message, which is the same at all nodes. */
  send(to: Iterable<string>, message: NodeMessage): number {
    const { commits, nodes } = this.#options;
    this.#last += 1;
    const { about, payload } = encodeNodeMessage(message);
    for (const node of to) {
      const values = [node, nodes.name, this.#last, about, Uint8Array.from(payload)];
      commits.add({ name: 'putNodeMessage', values }, about.length + payload.length + 100);
    }
    return this.#last;
  }

  /** Resolves when what was sent in this turn is stored, and every node that lives now has applied it, or is dead. */
  async applied(number: number): Promise<void> {
    const to = this.#alive();
    await this.#options.commits.durable();
    if (to.length === 0) return;
    await new Promise<void>((resolve) => this.#waiters.push({ number, to, resolve }));
  }

  close(): void {
    this.#stop();
    for (const { resolve } of this.#waiters) resolve();
    this.#waiters = [];
  }

  #alive(): readonly string[] {
    return this.#options.nodes.others().flatMap(({ name, isAlive }) => (isAlive ? [name] : []));
  }

  async #look(): Promise<void> {
    if (this.#waiters.length === 0 || this.#isLooking) return;
    this.#isLooking = true;
    const { database, nodes } = this.#options;
    try {
      const { rows } = await database.query<{ to_node: string; number: number }>(
        { name: 'sessions read cursors', text: 'SELECT to_node, number FROM node_cursors WHERE from_node = $1' },
        [nodes.name],
      );
      const cursors = new Map(rows.map(({ to_node: node, number }) => [node, number]));
      const alive = new Set(this.#alive());
      this.#waiters = this.#waiters.filter(({ number, to, resolve }) => {
        if (to.some((name) => alive.has(name) && (cursors.get(name) ?? 0) < number)) return true;
        resolve();
        return false;
      });
    } catch {
      // The next look follows.
    } finally {
      this.#isLooking = false;
    }
  }
}
