/** Nodes that may have connections now, with what each has published of its release. */

import { DEAF_AFTER_MS, EXPIRED_AFTER_MS } from '../heartbeat.ts';
import type { PostgresTransaction } from './database.ts';
import { DATABASE_NOW } from './database-clock.ts';
import type { FleetProtocol } from './fleet-protocol.ts';

/** Its lease is held, and its connections are not closed for sure. */
export interface LiveNode {
  readonly name: string;
  /** Undefined of a node that has not published its record yet. */
  readonly release: string | undefined;
  /** Undefined of a node that has not published its record yet. */
  readonly protocol: FleetProtocol | undefined;
  /** The version of its code for each set of tables, by its name; none of a release that does not publish it. */
  readonly tables: Readonly<Record<string, number>>;
  /** It was not heard for so long that it may have been killed. By then its connections are closed for sure, ms by the database's clock. */
  readonly closedBy: number | undefined;
}

interface LiveRow {
  readonly name: string;
  readonly renewed_at: number;
  readonly read_at: number;
  readonly version: string | null;
  readonly protocol: number | null;
  readonly protocol_oldest: number | null;
  readonly tables: string | null;
}

/** The version of the tables of nodes from which on they have these columns. */
const PUBLISHES_SINCE = 3;
const PUBLISHED = 'nodes.protocol, nodes.protocol_oldest, nodes.tables';
const PUBLISHED_BEFORE = `CASE WHEN nodes.name IS NULL THEN NULL ELSE 1 END AS protocol,
  CASE WHEN nodes.name IS NULL THEN NULL ELSE 1 END AS protocol_oldest, '{}' AS tables`;

/** In the order of their names; none where no node has ever run. `table_versions` has to be there. */
export async function readLiveNodes(source: Pick<PostgresTransaction, 'query'>): Promise<readonly LiveNode[]> {
  const made = await source.query<{ readonly name: string; readonly version: number }>(
    `SELECT name, version FROM table_versions WHERE name IN ('leases', 'nodes') AND version > 0`,
  );
  const versions = new Map(made.rows.map(({ name, version }) => [name, version]));
  const version = versions.get('nodes');
  if (version === undefined || !versions.has('leases')) return [];
  const columns = version >= PUBLISHES_SINCE ? PUBLISHED : PUBLISHED_BEFORE;
  const { rows } = await source.query<LiveRow>(
    `SELECT substr(leases.name, 6) AS name, leases.renewed_at, ${DATABASE_NOW} AS read_at, nodes.version, ${columns}
     FROM leases LEFT JOIN nodes ON leases.name = 'node/' || nodes.name
     WHERE starts_with(leases.name, 'node/') AND leases.node IS NOT NULL
       AND ${DATABASE_NOW} - leases.renewed_at < ${EXPIRED_AFTER_MS}
     ORDER BY leases.name`,
  );
  return rows.map(({ name, renewed_at, read_at, version: release, protocol, protocol_oldest: oldest, tables }) => ({
    name,
    release: release ?? undefined,
    protocol: protocol === null || oldest === null ? undefined : { number: protocol, oldest },
    tables: tables === null ? {} : (JSON.parse(tables) as Readonly<Record<string, number>>),
    closedBy: read_at - renewed_at < DEAF_AFTER_MS ? undefined : renewed_at + EXPIRED_AFTER_MS,
  }));
}
