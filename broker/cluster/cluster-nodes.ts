/** The nodes of a server over one database: their numbers and epochs, and which of them live. */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  LeaseTable,
  NODE_LEASES,
  type PostgresDatabase,
  type PostgresTransaction,
} from '../../storage/postgres/index.ts';
import { STATEMENTS } from './tables.ts';

export interface ClusterNodesOptions {
  readonly database: PostgresDatabase;
  /** The name of this node, whose lease it holds. */
  readonly node: string;
  /** The monotonic clock of leases. */
  readonly monotonic: () => number;
  /** When the last heartbeat of this node was sent that was confirmed, by the same clock. */
  readonly heardAt: () => number;
  /** Within the transaction that fences off a dead node: makes sure that it stores nothing else any more. */
  readonly fenceOff: (transaction: PostgresTransaction, node: string) => Promise<void>;
  /** Others have taken over what this node had: nothing of it is stored any more. Called once. */
  readonly onSuperseded?: ((problem: Problem) => void) | undefined;
  readonly log: Logger;
}

export interface KnownNode {
  readonly name: string;
  readonly number: number;
  readonly epoch: number;
  readonly isAlive: boolean;
}

export interface FencedOff {
  /** The node that began before to adopt what the dead one had, now or once before. */
  readonly formerAdopter: string | undefined;
}

const EVERY_MS = 250;
/** In place of a sender of messages to a node: its number is that of the process that adopts it. No node has a name with a slash. */
const ADOPTER = '/adopter';
const FIND_ADOPTER = {
  name: 'sessions find adopter',
  text: `SELECT number FROM node_cursors WHERE to_node = $1 AND from_node = '${ADOPTER}'`,
};
/** So many nodes can have rows with ids of their own. */
export const MOST_NODES = 2_048;

const REGISTER = `INSERT INTO session_nodes (name, number, epoch)
  SELECT $1, coalesce(max(number) + 1, 0), 1 FROM session_nodes
  ON CONFLICT (name) DO UPDATE SET epoch = session_nodes.epoch + 1 RETURNING number, epoch`;
const RAISE = 'UPDATE session_nodes SET epoch = epoch + 1 WHERE name = $1 AND epoch = $2';
const FENCE = {
  name: 'sessions fence',
  text: 'SELECT 1 FROM session_nodes WHERE name = $1 AND epoch = $2 FOR SHARE',
};

export class ClusterNodes {
  readonly name: string;
  readonly number: number;
  readonly epoch: number;
  readonly #options: ClusterNodesOptions;
  readonly #leases: LeaseTable;
  #known: readonly KnownNode[] = [];
  #superseded: Problem | undefined;
  #isClosed = false;
  #ended: Promise<void> = Promise.resolve();
  readonly #listeners = new Set<() => void>();

  /** The lease of the node has to be held. */
  static async join(options: ClusterNodesOptions): Promise<ClusterNodes> {
    const { database, node } = options;
    for (let tries = 0; ; tries += 1) {
      try {
        const { rows } = await database.execute<{ number: number; epoch: number }>(REGISTER, [node]);
        const { number, epoch } = rows[0] as { number: number; epoch: number };
        if (number >= MOST_NODES) throw new Problem('internal', { reason: `expected at most ${MOST_NODES} nodes` });
        const nodes = new ClusterNodes(options, number, epoch);
        await nodes.look();
        nodes.#ended = nodes.#watch();
        return nodes;
      } catch (error) {
        if (tries === 5) throw error; // Two new nodes chose one number.
      }
    }
  }

  private constructor(options: ClusterNodesOptions, number: number, epoch: number) {
    const { database, node, monotonic, heardAt } = options;
    this.name = node;
    this.number = number;
    this.epoch = epoch;
    this.#options = options;
    this.#leases = new LeaseTable({ database, node, now: monotonic, committedAt: heardAt });
  }

  others(): readonly KnownNode[] {
    return this.#known.filter(({ name }) => name !== this.name);
  }

  find(name: string): KnownNode | undefined {
    return this.#known.find((node) => node.name === name);
  }

  /** Called after each look. Returns the function that stops it. */
  onLook(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Within a transaction: it commits only while no other node has taken over what this one has. */
  async fence(transaction: PostgresTransaction): Promise<void> {
    if (!(await this.isAt(transaction, this))) throw this.#supersede();
  }

  /** Within a transaction: it commits only while a node has this epoch. */
  async isAt(transaction: PostgresTransaction, { name, epoch }: Pick<KnownNode, 'name' | 'epoch'>): Promise<boolean> {
    const { count } = await transaction.query(FENCE, [name, epoch]);
    return count > 0;
  }

  /** Looks whether this node still has what it had. Throws Problem `node_superseded`, and what the database throws. */
  async expectOwn(): Promise<void> {
    await this.look();
    if (this.#superseded !== undefined) throw this.#superseded;
  }

  /** What a dead node had is for this one to adopt. Undefined: it lives, or another node that lives adopts it. */
  async fenceOff({ name, epoch }: KnownNode): Promise<FencedOff | undefined> {
    const [lease] = await this.#leases.read([NODE_LEASES + name]);
    if (lease === undefined || !this.#leases.isFree(lease)) return undefined;
    return this.#options.database.transaction(async (transaction) => {
      // A node that is heard again renews its lease first, and then finds out whether its epoch has grown.
      if (!(await this.#leases.lock(transaction, lease))) return undefined;
      const former = await this.#adopterOf(transaction, name);
      if (former?.isAlive === true && former.name !== this.name) return undefined;
      if ((await transaction.query(RAISE, [name, epoch])).count === 0) return undefined;
      await transaction.query(STATEMENTS.putCursor, [name, ADOPTER, this.epoch * MOST_NODES + this.number]);
      await this.#options.fenceOff(transaction, name);
      return { formerAdopter: former?.name };
    });
  }

  async look(): Promise<void> {
    const [{ rows }, leases] = await Promise.all([
      this.#options.database.query<{ name: string; number: number; epoch: number }>(
        'SELECT name, number, epoch FROM session_nodes ORDER BY number',
      ),
      this.#leases.list(NODE_LEASES),
    ]);
    const alive = new Set(leases.filter((lease) => !this.#leases.isFree(lease)).map(({ name }) => name));
    this.#known = rows.map((row) => ({ ...row, isAlive: row.name === this.name || alive.has(NODE_LEASES + row.name) }));
    if (this.#known.some(({ name, epoch }) => name === this.name && epoch !== this.epoch)) this.#supersede();
    for (const listener of this.#listeners) listener();
  }

  /** A process that adopts, or has adopted, what a node had. */
  async #adopterOf(
    transaction: PostgresTransaction,
    node: string,
  ): Promise<Pick<KnownNode, 'name' | 'isAlive'> | undefined> {
    const { rows } = await transaction.query<{ readonly number: number }>(FIND_ADOPTER, [node]);
    const [row] = rows;
    const known = row && this.#known.find(({ number }) => number === row.number % MOST_NODES);
    return known && { name: known.name, isAlive: known.isAlive && known.epoch === Math.floor(row.number / MOST_NODES) };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#ended;
  }

  #supersede(): Problem {
    if (this.#superseded === undefined) {
      this.#superseded = new Problem('node_superseded', {
        reason: `another node took over the sessions of ${this.name}`,
      });
      this.#options.onSuperseded?.(this.#superseded);
    }
    return this.#superseded;
  }

  async #watch(): Promise<void> {
    while (!this.#isClosed) {
      await delay(EVERY_MS, undefined, { ref: false });
      await this.look().catch((error: unknown) => this.#options.log.debug({ err: error }, 'nodes could not be read'));
    }
  }
}
