/** What nodes that share a store say of themselves, and how alive each is: a row each, beside its lease. */

import { DEAF_AFTER_MS, EXPIRED_AFTER_MS } from '../heartbeat.ts';
import type { PostgresDatabase } from './database.ts';
import { type LeaseRecord, LeaseTable } from './leases.ts';
import type { TableSet } from './migrations.ts';
import { NODE_LEASES } from './node-lease.ts';

export const NODE_TABLES: TableSet = {
  name: 'nodes',
  migrations: [
    {
      sql: `CREATE TABLE nodes (
        name       TEXT COLLATE "C" PRIMARY KEY,
        -- Separated by commas.
        roles      TEXT COLLATE "C" NOT NULL,
        version    TEXT COLLATE "C" NOT NULL,
        started_at BIGINT NOT NULL,
        sessions   BIGINT NOT NULL,
        -- The database's clock minus the one of the node, ms.
        skew       BIGINT NOT NULL,
        removed_at BIGINT
      )`,
      oldest: 1,
    },
  ],
};

/** What a node says of itself. Times are milliseconds since the epoch. */
export interface NodeRecord {
  readonly name: string;
  /** What it serves. */
  readonly roles: readonly string[];
  readonly version: string;
  readonly startedAt: number;
  readonly sessions: number;
  readonly skew: number;
  /** An operator removed it: it is refused until it joins again. */
  readonly removedAt: number | undefined;
}

/**
 * `alive`: its heartbeats are confirmed. `deaf`: they are not since `since`, and it reads, acknowledges and delivers nothing; by `closedBy`
 * it has closed its sockets. `gone`: they are closed. Times are of the database's clock.
 */
export type NodeLiveness =
  | { readonly state: 'alive' }
  | { readonly state: 'deaf'; readonly since: number; readonly closedBy: number }
  | { readonly state: 'gone'; readonly since: number };

export interface ListedNode extends NodeRecord {
  readonly liveness: NodeLiveness;
}

interface NodeRow {
  readonly name: string;
  readonly roles: string;
  readonly version: string;
  readonly started_at: number;
  readonly sessions: number;
  readonly skew: number;
  readonly removed_at: number | null;
}

const SAVE = {
  name: 'save node',
  text: `INSERT INTO nodes (name, roles, version, started_at, sessions, skew) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, version = excluded.version,
      started_at = excluded.started_at, sessions = excluded.sessions, skew = excluded.skew`,
};
const LIST = {
  name: 'list nodes',
  text: 'SELECT name, roles, version, started_at, sessions, skew, removed_at FROM nodes ORDER BY name',
};
const FIND = { name: 'find node', text: `SELECT name, removed_at FROM nodes WHERE name = $1` };
const REMOVE = 'UPDATE nodes SET removed_at = $2 WHERE name = $1';
/** The process that holds it is told at its next renewal. */
const END_LEASE = 'UPDATE leases SET epoch = epoch + 1, node = NULL WHERE name = $1';

export class NodeRecords {
  readonly #database: PostgresDatabase;
  readonly #leases: LeaseTable;

  constructor(database: PostgresDatabase, node: string, now: () => number) {
    this.#database = database;
    this.#leases = new LeaseTable({ database, node, now });
  }

  async save({ name, roles, version, startedAt, sessions, skew }: Omit<NodeRecord, 'removedAt'>): Promise<void> {
    await this.#database.execute(SAVE, [name, roles.join(','), version, startedAt, sessions, Math.round(skew)]);
  }

  async isRemoved(name: string): Promise<boolean> {
    const { rows } = await this.#database.query<Pick<NodeRow, 'removed_at'>>(FIND, [name]);
    return typeof rows[0]?.removed_at === 'number';
  }

  async list(): Promise<readonly ListedNode[]> {
    const [{ rows }, leases] = await Promise.all([this.#database.query<NodeRow>(LIST), this.#leases.list(NODE_LEASES)]);
    const byName = new Map(leases.map((lease) => [lease.name, lease]));
    return rows.map(({ name, roles, version, started_at, sessions, skew, removed_at }) => {
      const lease = byName.get(NODE_LEASES + name);
      return {
        ...{ name, version, sessions, skew, startedAt: started_at, removedAt: removed_at ?? undefined },
        roles: roles.split(','),
        liveness: lease === undefined ? { state: 'gone', since: started_at } : livenessOf(lease),
      };
    });
  }

  /** Ends its lease: the process stops at its next heartbeat, and none of this name starts again. False: there is none. */
  async remove(name: string, at: number): Promise<boolean> {
    return this.#database.transaction(async (transaction) => {
      const { count } = await transaction.query(REMOVE, [name, at]);
      if (count > 0) await transaction.query(END_LEASE, [NODE_LEASES + name]);
      return count > 0;
    });
  }
}

function livenessOf({ node, renewedAt, readAt }: LeaseRecord): NodeLiveness {
  const silent = readAt - renewedAt;
  if (node === undefined) return { state: 'gone', since: renewedAt };
  if (silent < DEAF_AFTER_MS) return { state: 'alive' };
  if (silent >= EXPIRED_AFTER_MS) return { state: 'gone', since: renewedAt + EXPIRED_AFTER_MS };
  return { state: 'deaf', since: renewedAt + DEAF_AFTER_MS, closedBy: renewedAt + EXPIRED_AFTER_MS };
}
