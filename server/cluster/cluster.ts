/**
 * One node among several that share a store on PostgreSQL: opens its connections, takes its name, looks at its neighbours and says of itself
 * that it is there. Opens no registry and no journal.
 */

import type { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { SharedRegistry } from '../../registry/open.ts';
import {
  type HeartbeatBounds,
  type Liveness,
  NatsWakes,
  suspensionAwareClock,
  type Wakes,
} from '../../storage/index.ts';
import {
  type ClockSkew,
  FLEET_PROTOCOL,
  type FleetProtocol,
  LeaseTable,
  type ListedNode,
  type NodeOrder,
  NodeRecords,
  NodeRoles,
  PostgresDatabase,
  PostgresWakes,
  Singletons,
  type TableSet,
  versionsOf,
} from '../../storage/postgres/index.ts';
import type { Config } from '../config/config.ts';
import { configuredStore } from '../config/store-settings.ts';
import { wakesSettings } from '../config/wakes-settings.ts';
import type { DataDirectory } from '../data-directory.ts';
import { expectUsableSharedStore } from '../migration/usable-store.ts';
import { OpenParts } from '../open-parts.ts';
import { warnOfSkew } from './clock-skew.ts';
import { FailureLog } from './failure-log.ts';
import { fleetTables } from './fleet-tables.ts';
import { Neighbours } from './neighbours.ts';
import { nodeNameOf } from './node-settings.ts';
import { OwnLease } from './own-lease.ts';
import { type NodeCounts, ORDERS, type OrderHandler, OwnRecord } from './own-record.ts';
import { StoreWatch } from './store-watch.ts';

export interface ClusterOptions {
  readonly config: Pick<Config, 'store' | 'node'>;
  readonly data: Pick<DataDirectory, 'confirmedStateFile'>;
  /** Its release. */
  readonly version: string;
  /** What its release speaks with other nodes; `FLEET_PROTOCOL` without it. */
  readonly protocol?: FleetProtocol;
  /** All tables of its release; `fleetTables()` without it. */
  readonly tables?: readonly TableSet[];
  /** Ends the wait of a start for the database. */
  readonly stopped?: AbortSignal;
  /** As `FleetServerOptions.heartbeat`. */
  readonly heartbeat?: HeartbeatBounds | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface Cluster {
  /** The name of this node. */
  readonly node: string;
  readonly database: PostgresDatabase;
  readonly wakes: Wakes;
  readonly singletons: Singletons;
  /** The monotonic clock of its leases. */
  readonly clock: () => number;
  /** Of this node, by its clock, at this moment. */
  liveness(): Liveness;
  /** When its last heartbeat was sent that was confirmed, by `clock`. */
  heardAt(): number;
  /** Called at each change. Returns a function that removes the listener. */
  onLiveness(listener: (liveness: Liveness) => void): () => void;
  /**
   * Another process has the name of this node, an operator removed it, or others took over its sessions: it has to stop. Called once, also
   * when that was before.
   */
  onLost(listener: (problem: Problem) => void): void;
  /** Others have taken over the sessions of this node, or its release is too old. */
  lose(problem: Problem): void;
  /**
   * For a node that others may have gone on without: throws Problem `database_newer` or `node_release_too_far` when its release cannot be used
   * any more, and what the database throws.
   */
  expectCompatible(): Promise<void>;
  /** All of the fleet, also those that are gone. */
  nodes(): Promise<readonly ListedNode[]>;
  /** Its process ends at its next heartbeat, and none of this name starts until it joins again. False: there is none of this name. */
  remove(name: string): Promise<boolean>;
  /** The name may start, also when it was removed: its host has joined. */
  admit(name: string, roles: readonly string[]): Promise<void>;
  /** Roles of the database for single nodes. */
  readonly databaseRoles: NodeRoles;
  /** Has any node carry out an order, unless `expect` throws. False: there is none of this name. As `NodeRecords.order`. */
  order(name: string, order: NodeOrder, expect: (nodes: readonly ListedNode[]) => void): Promise<boolean>;
  /** Orders that this node gets, from this one or another. */
  onOrder(handler: OrderHandler): void;
  /** Undefined: it accepts connections. Told to the others. */
  setDrained(since: number | undefined): void;
  isDrained(): boolean;
  /** The node that does this for all, by the name of its lease; undefined when none does now. */
  holderOf(name: string): Promise<string | undefined>;
  /** The database's clock minus that of this node, as it was last measured. */
  skew(): ClockSkew;
  /** Ids of the issuing CAs whose keys this node has. Told to the others. */
  tellCaKeys(ids: readonly string[]): void;
  /** This is its first start since an operator accepted that the database was restored. */
  readonly isRestored: boolean;
  /** Compares the audit with what this node has seen of it, and remembers it from now on. Throws Problem `database_restored`. */
  watchAudit(registry: Pick<SharedRegistry, 'auditHead' | 'hasAuditEntry'>): Promise<void>;
  /** Of this node, for the list of nodes. */
  countWith(counts: () => NodeCounts): void;
  close(): Promise<void>;
}

/**
 * Throws Problem `node_exists`, `node_removed`, `store_moved`, `store_unfinished`, `store_in_use`, `database_newer`, `upgrade_blocked`,
 * `node_release_too_far` or `database_restored`, what the configuration is refused for, and what the database throws; then nothing is left
 * open, and the name is free.
 */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const opened = new OpenParts();
  try {
    return await open(options, opened);
  } catch (error) {
    await opened.close().catch((cause: unknown) => options.log.warn({ err: cause }, 'a part did not close'));
    throw error;
  }
}

async function open(options: ClusterOptions, opened: OpenParts): Promise<Cluster> {
  const { config, data, version, protocol = FLEET_PROTOCOL, tables = fleetTables(), stopped, now, log } = options;
  const { roles } = config.node;
  const node = nodeNameOf(config);
  const clock = suspensionAwareClock();
  const failures = new FailureLog(log);

  // 1. The database, with the tables of leases and nodes. It has all that this node has seen of it.
  const database = opened.add(
    new PostgresDatabase({
      ...configuredStore(config.store, now),
      applicationName: `rollcall ${node}`,
      onPrimary: ({ host, port }) => log.info({ host, port }, 'connected to the primary of the database'),
    }),
  );
  const abandon = () => void database.close();
  stopped?.addEventListener('abort', abandon, { once: true });
  if (stopped?.aborted === true) abandon();
  const openWakes = wakesOf(config, { database, now, log });
  await database.check();
  const neighbours = new Neighbours({ database, node, protocol, tables });
  await neighbours.prepareLease();
  const records = new NodeRecords(database, node, clock);
  const watch = await StoreWatch.open({ file: data.confirmedStateFile, database, node, now, log });

  // 2. The name: from here on others find this node. A migration looks for nodes after it has its lease, and a node for a migration after it has
  // its own, so that one of them finds the other. The same holds for two releases that cannot run together.
  const lease = opened.add(
    await OwnLease.take({ database, node, records, watch, clock, failures, heartbeat: options.heartbeat }),
  );
  await neighbours.prepare();
  await expectUsableSharedStore(database, node, clock);
  await neighbours.expectBeside();

  // 3. Wakes, leases of what one node does for all, and the record by which others know this node.
  const wakes = opened.add(openWakes());
  const leases = new LeaseTable({ database, node, now: clock });
  const singletons = opened.add(
    new Singletons({
      ...{ database, node, wakes, now: clock },
      onFailure: (error) => failures.failed(error, 'leases were not renewed'),
    }),
  );
  const record = opened.add(
    await OwnRecord.open({
      ...{ records, database, wakes, node, roles, version, protocol, tables: versionsOf(tables), now },
      failed: (error) => failures.failed(error, 'this node could not tell others of itself'),
    }),
  );
  await neighbours.expectBeside();
  await lease.lookWhetherRemoved();
  opened.add({ close: async () => watch.end() });
  warnOfSkew(record.skew, log);
  log.info({ node, roles, epoch: lease.epoch }, 'this node has its name');

  return {
    ...{ node, database, wakes, singletons, clock },
    liveness: () => lease.liveness,
    heardAt: () => lease.heardAt,
    onLiveness: (listener) => lease.onLiveness(listener),
    onLost: (listener) => lease.onLost(listener),
    lose: (problem) => lease.lose(problem),
    expectCompatible: () => neighbours.expectCompatible(),
    nodes: () => records.list(),
    remove: (name) => records.remove(name, now()),
    admit: (name, joinedAs) => records.admit(name, joinedAs, now()),
    databaseRoles: new NodeRoles(database),
    order: async (name, order, expect) => {
      const number = await records.order(name, order, expect);
      wakes.wake(ORDERS);
      return number !== undefined;
    },
    onOrder: (handler) => record.onOrder(handler),
    setDrained: (since) => {
      record.drainedSince = since;
    },
    isDrained: () => record.drainedSince !== undefined,
    holderOf: async (name) => (await leases.read([`single/${name}`]))[0]?.node,
    skew: () => record.skew,
    tellCaKeys: (ids) => record.tellCaKeys(ids),
    isRestored: watch.isRestored,
    watchAudit: (registry) =>
      watch.watch(registry, { clock, heardAt: () => lease.heardAt, renewals: () => lease.renewals }),
    countWith: (counts) => {
      record.counts = counts;
    },
    close: () => opened.close(),
  };
}

/** Carried by the database, or by NATS. Returns what opens them. Throws what their settings are refused for. */
function wakesOf(
  { store }: ClusterOptions['config'],
  { database, now, log }: Pick<ClusterOptions, 'now' | 'log'> & { readonly database: PostgresDatabase },
): () => Wakes {
  const nats = wakesSettings(store.wakes, store.schema, now);
  // Apart from those of the heartbeat, which may be confirmed again before the connection is there.
  const failures = new FailureLog(log);
  const lost = 'the connection for wakes was lost';
  const told = {
    onLost: (error: unknown) => failures.failed(error, lost),
    onConnected: () => {
      if (failures.recovered(lost)) log.info('the connection for wakes is there again');
    },
  };
  return () => (nats === undefined ? new PostgresWakes({ database, ...told }) : new NatsWakes({ ...nats, ...told }));
}
