/** What nodes that share a store say of themselves, and how alive each is: a row each, beside its lease. */

import { DEAF_AFTER_MS, EXPIRED_AFTER_MS } from '../heartbeat.ts';
import type { PostgresDatabase } from './database.ts';
import type { FleetProtocol } from './fleet-protocol.ts';
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
    {
      sql: `ALTER TABLE nodes
        -- The host's own name.
        ADD COLUMN host          TEXT,
        ADD COLUMN connections   BIGINT NOT NULL DEFAULT 0,
        -- Percent of the last seconds.
        ADD COLUMN busy          INTEGER,
        ADD COLUMN drained_since BIGINT,
        -- How many orders operators gave it, how many of them it has carried out, and the last one.
        ADD COLUMN orders        BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN orders_done   BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN last_order    TEXT`,
      oldest: 1,
    },
    {
      sql: `ALTER TABLE nodes
        -- What its release speaks with others (fleet-protocol.ts). Nodes that write no number speak 1.
        ADD COLUMN protocol        INTEGER NOT NULL DEFAULT 1,
        ADD COLUMN protocol_oldest INTEGER NOT NULL DEFAULT 1,
        -- JSON: the version of its code for each set of tables.
        ADD COLUMN tables          TEXT NOT NULL DEFAULT '{}'`,
      oldest: 1,
    },
    {
      sql: `ALTER TABLE nodes
        -- Ids of the issuing CAs whose keys it has, separated by commas; NULL: it has not said.
        ADD COLUMN ca_keys TEXT`,
      oldest: 1,
    },
  ],
};

/** What an operator has a node do, wherever it runs. */
export interface NodeOrder {
  readonly kind: 'drain' | 'undrain';
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Milliseconds. */
  readonly within: number;
  /** 0: no limit. */
  readonly sessionsPerSecond: number;
  /** It accepts connections again once it is drained. */
  readonly restart: boolean;
}

export interface NumberedOrder extends NodeOrder {
  readonly number: number;
}

/** What a node says of itself. Times are milliseconds since the epoch. */
export interface NodeRecord {
  readonly name: string;
  /** What it serves. */
  readonly roles: readonly string[];
  /** Its release. */
  readonly version: string;
  /** What it speaks with other nodes. */
  readonly protocol: FleetProtocol;
  readonly startedAt: number;
  readonly sessions: number;
  readonly skew: number;
  /** The name of its host; undefined for one whose release does not say. */
  readonly host: string | undefined;
  /** Connected sessions, and connections that are no session yet. */
  readonly connections: number;
  /** 0 to 1: how busy its event loop was lately. */
  readonly busy: number | undefined;
  /** It accepts no connection since then, because an operator drained it. */
  readonly drainedSince: number | undefined;
  /** Of the orders that operators gave it, how many it has carried out. */
  readonly ordersDone: number;
  /** Ids of the issuing CAs whose keys it has; undefined until it has said so. */
  readonly caKeys: readonly string[] | undefined;
  /** An operator removed it: it is refused until it joins again. */
  readonly removedAt: number | undefined;
}

/** As a node saves it. */
export interface SavedRecord extends Omit<NodeRecord, 'removedAt'> {
  /** The version of its code for each set of tables, by its name. */
  readonly tables: Readonly<Record<string, number>>;
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
  /** That it has not carried out yet. */
  readonly order: NumberedOrder | undefined;
}

interface NodeRow extends OrderRow {
  readonly name: string;
  readonly roles: string;
  readonly version: string;
  readonly started_at: number;
  readonly sessions: number;
  readonly skew: number;
  readonly removed_at: number | null;
  readonly host: string | null;
  readonly connections: number;
  readonly busy: number | null;
  readonly drained_since: number | null;
  readonly protocol: number;
  readonly protocol_oldest: number;
  readonly ca_keys: string | null;
}

interface OrderRow {
  readonly orders: number;
  readonly orders_done: number;
  readonly last_order: string | null;
}

const COLUMNS =
  'name, roles, version, started_at, sessions, skew, host, connections, busy, drained_since, orders_done, protocol, protocol_oldest, ca_keys';
const SAVE = {
  name: 'save node',
  text: `INSERT INTO nodes (${COLUMNS}, tables) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, version = excluded.version,
      started_at = excluded.started_at, sessions = excluded.sessions, skew = excluded.skew, host = excluded.host,
      connections = excluded.connections, busy = excluded.busy, drained_since = excluded.drained_since,
      orders_done = excluded.orders_done, protocol = excluded.protocol, protocol_oldest = excluded.protocol_oldest,
      ca_keys = excluded.ca_keys, tables = excluded.tables
    RETURNING orders, orders_done, last_order`,
};
const LIST = {
  name: 'list nodes',
  text: `SELECT ${COLUMNS}, orders, last_order, removed_at FROM nodes ORDER BY name`,
};
/** In one order, so that two never wait for each other. */
const LOCK_ALL = { name: 'lock nodes', text: 'SELECT name FROM nodes ORDER BY name FOR UPDATE' };
const FIND = { name: 'find node', text: 'SELECT name, removed_at, orders FROM nodes WHERE name = $1' };
const ORDER = {
  name: 'order node',
  text: `UPDATE nodes SET orders = orders + 1, last_order = $2 WHERE name = $1 AND removed_at IS NULL RETURNING orders`,
};
const ADMIT = `INSERT INTO nodes (name, roles, version, started_at, sessions, skew) VALUES ($1, $2, '-', $3, 0, 0)
  ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, removed_at = NULL`;
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

  /** Returns the order that it has not carried out yet, if there is one. */
  async save(record: SavedRecord): Promise<NumberedOrder | undefined> {
    const { name, roles, version, startedAt, sessions, skew, host, connections, busy, drainedSince, ordersDone } =
      record;
    const { protocol, tables, caKeys } = record;
    const { rows } = await this.#database.execute<OrderRow>(SAVE, [
      ...[name, roles.join(','), version, startedAt, sessions, Math.round(skew), host ?? null, connections],
      ...[busy === undefined ? null : Math.round(busy * 100), drainedSince ?? null, ordersDone],
      ...[protocol.number, protocol.oldest, caKeys?.join(',') ?? null, JSON.stringify(tables)],
    ]);
    return rows[0] && openOrder(rows[0]);
  }

  async isRemoved(name: string): Promise<boolean> {
    const { rows } = await this.#database.query<Pick<NodeRow, 'removed_at'>>(FIND, [name]);
    return typeof rows[0]?.removed_at === 'number';
  }

  /** How many orders it was given so far. */
  async countOrders(name: string): Promise<number> {
    const { rows } = await this.#database.query<Pick<NodeRow, 'orders'>>(FIND, [name]);
    return rows[0]?.orders ?? 0;
  }

  /**
   * Returns the number of the order, which replaces one that was not carried out yet. Undefined: there is none of this name. `expect` judges the
   * nodes before, and what it throws is thrown: of two orders at the same moment, given on any nodes, the second one sees the first.
   */
  async order(
    name: string,
    order: NodeOrder,
    expect: (nodes: readonly ListedNode[]) => void,
  ): Promise<number | undefined> {
    return this.#database.transaction(async (transaction) => {
      await transaction.query(LOCK_ALL);
      const [{ rows: nodes }, leases] = await Promise.all([
        transaction.query<NodeRow>(LIST),
        this.#leases.list(NODE_LEASES),
      ]);
      expect(listed(nodes, leases));
      const { rows } = await transaction.query<Pick<NodeRow, 'orders'>>(ORDER, [name, JSON.stringify(order)]);
      return rows[0]?.orders;
    });
  }

  async list(): Promise<readonly ListedNode[]> {
    const [{ rows }, leases] = await Promise.all([this.#database.query<NodeRow>(LIST), this.#leases.list(NODE_LEASES)]);
    return listed(rows, leases);
  }

  /** Its host has joined: it may start, and is listed before it does. `at`: milliseconds since the epoch. */
  async admit(name: string, roles: readonly string[], at: number): Promise<void> {
    await this.#database.execute(ADMIT, [name, roles.join(','), at]);
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

function listed(rows: readonly NodeRow[], leases: readonly LeaseRecord[]): readonly ListedNode[] {
  const byName = new Map(leases.map((lease) => [lease.name, lease]));
  return rows.map((row) => {
    const { name, version, sessions, skew, connections } = row;
    const lease = byName.get(NODE_LEASES + name);
    return {
      ...{ name, version, sessions, skew, connections },
      roles: row.roles.split(','),
      startedAt: row.started_at,
      host: row.host ?? undefined,
      busy: row.busy === null ? undefined : row.busy / 100,
      drainedSince: row.drained_since ?? undefined,
      protocol: { number: row.protocol, oldest: row.protocol_oldest },
      ordersDone: row.orders_done,
      caKeys: row.ca_keys?.split(',').filter((id) => id !== ''),
      removedAt: row.removed_at ?? undefined,
      order: openOrder(row),
      liveness: lease === undefined ? { state: 'gone', since: row.started_at } : livenessOf(lease),
    };
  });
}

/** Orders are only written by this module. */
function openOrder({ orders, orders_done: done, last_order: text }: OrderRow): NumberedOrder | undefined {
  return orders > done && text !== null ? { ...(JSON.parse(text) as NodeOrder), number: orders } : undefined;
}

function livenessOf({ node, renewedAt, readAt }: LeaseRecord): NodeLiveness {
  const silent = readAt - renewedAt;
  if (node === undefined) return { state: 'gone', since: renewedAt };
  if (silent < DEAF_AFTER_MS) return { state: 'alive' };
  if (silent >= EXPIRED_AFTER_MS) return { state: 'gone', since: renewedAt + EXPIRED_AFTER_MS };
  return { state: 'deaf', since: renewedAt + DEAF_AFTER_MS, closedBy: renewedAt + EXPIRED_AFTER_MS };
}
