/** Whether this node may run: with the tables as they are, and beside the nodes that are there. */

import {
  CURSOR_TABLES,
  expectNeighbours,
  expectUsableTables,
  type FleetProtocol,
  LEASE_TABLES,
  migrate,
  NODE_TABLES,
  type PostgresDatabase,
  readLiveNodes,
  STORE_GENERATION_TABLES,
  STORE_NOTE_TABLES,
  type TableSet,
  whenNodesSettle,
} from '../../storage/postgres/index.ts';

export interface NeighboursOptions {
  readonly database: PostgresDatabase;
  /** The name of this node. */
  readonly node: string;
  readonly protocol: FleetProtocol;
  /** All that its release has. */
  readonly tables: readonly TableSet[];
}

const FOR_THE_LEASE = [LEASE_TABLES, NODE_TABLES, STORE_GENERATION_TABLES];

/** Throws Problem `database_newer`, `upgrade_blocked` or `node_release_too_far`, and what the database throws. */
export class Neighbours {
  readonly #options: NeighboursOptions;

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  /** Makes the tables without which a node has no lease. */
  async prepareLease(): Promise<void> {
    for (const tables of this.#sets(...FOR_THE_LEASE)) await migrate(this.#options.database, tables);
  }

  /** With the lease: other nodes find this one from now on, and make no tables that it could not use. */
  async prepare(): Promise<void> {
    const { database } = this.#options;
    await expectUsableTables(database, this.#sets(...FOR_THE_LEASE));
    for (const tables of this.#sets(CURSOR_TABLES, STORE_NOTE_TABLES)) await migrate(database, tables);
  }

  /** A node that starts looks before it publishes its record, and again after it: of two that start at once, one finds the other. */
  async expectBeside(): Promise<void> {
    await whenNodesSettle('node_release_too_far', () => this.#expectBeside());
  }

  /** For a node that others may have gone on without. */
  async expectCompatible(): Promise<void> {
    await expectUsableTables(this.#options.database, this.#options.tables);
    await this.#expectBeside();
  }

  async #expectBeside(): Promise<void> {
    const { database, node, protocol } = this.#options;
    const nodes = await readLiveNodes(database);
    expectNeighbours(
      protocol,
      nodes.filter(({ name }) => name !== node),
    );
  }

  #sets(...wanted: readonly TableSet[]): readonly TableSet[] {
    return this.#options.tables.filter(({ name }) => wanted.some((set) => set.name === name));
  }
}
