/**
 * One node among several that share a store on PostgreSQL: its connections, its lease with its heartbeats, what it says of itself, and the
 * leases of what one node does for all. Opens no registry and no journal.
 */

import { hostname } from 'node:os';
import { NODE_NAME, NODE_ROLES, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { SharedRegistry } from '../../registry/open.ts';
import {
  Heartbeat,
  type Liveness,
  NatsWakes,
  type NatsWakesSettings,
  suspensionAwareClock,
  type Wakes,
} from '../../storage/index.ts';
import {
  type ClockSkew,
  FLEET_PROTOCOL,
  type FleetProtocol,
  LeaseTable,
  type ListedNode,
  NodeLease,
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
import { EMBEDDED_STORE } from '../config/store-config.ts';
import { configuredStore } from '../config/store-settings.ts';
import { wakesSettings } from '../config/wakes-settings.ts';
import type { DataDirectory } from '../data-directory.ts';
import { expectUsableSharedStore } from '../migration/usable-store.ts';
import { databaseRestored } from './confirmed-state.ts';
import { fleetTables } from './fleet-tables.ts';
import { Neighbours } from './neighbours.ts';
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
  /** Has any node carry out an order. False: there is none of this name. */
  order(name: string, order: NodeOrder): Promise<boolean>;
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

const WAKES_LOST = 'the connection for wakes was lost';
/** A clock that differs by more is reported. */
export const SKEW_TOLERATED_MS = 1_000;

/** Throws Problem `config_invalid` for a server that is alone and leaves a role to nobody. */
export function isShared({ store, node }: Pick<Config, 'store' | 'node'>): boolean {
  if (store.url !== EMBEDDED_STORE) return true;
  if (node.roles.length === NODE_ROLES.length) return false;
  throw new Problem('config_invalid', {
    reason: 'node.roles: expected all of them with store.url: file:, because no other node has the same store',
  });
}

/** That of the configuration, or the host's. Throws Problem `config_invalid` when neither can be used. */
export function nodeNameOf({ node }: Pick<Config, 'node'>, host: string = hostname()): string {
  const name = node.name === '' ? host.toLowerCase() : node.name;
  if (NODE_NAME.test(name)) return name;
  throw new Problem('config_invalid', {
    reason: 'node.name: expected a name of a-z 0-9 . -, and that of this host is none',
    hint: 'choose one with --node-name NAME',
  });
}

/**
 * Waits up to a second for the name when its former process was killed. Throws Problem `node_exists`, `node_removed`, `store_moved`,
 * `store_unfinished`, `store_in_use`, `database_newer`, `upgrade_blocked`, `node_release_too_far` or `database_restored`, what the
 * configuration is refused for, and what the database throws.
 */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { config, data, version, protocol = FLEET_PROTOCOL, tables = fleetTables(), now, log } = options;
  const node = nodeNameOf(config);
  const nats = wakesSettings(config.store.wakes, config.store.schema, now);
  const database = new PostgresDatabase({
    ...configuredStore(config.store, now),
    applicationName: `rollcall ${node}`,
    onPrimary: ({ host, port }) => log.info({ host, port }, 'connected to the primary of the database'),
  });
  try {
    const file = data.confirmedStateFile;
    const roles = config.node.roles;
    return await openNode({ database, nats, node, roles, version, protocol, tables, file, now, log });
  } catch (error) {
    await database.close();
    throw error;
  }
}

interface NodeOptions extends Required<Pick<ClusterOptions, 'version' | 'protocol' | 'tables' | 'now' | 'log'>> {
  readonly database: PostgresDatabase;
  /** What carries wakes instead of the database. */
  readonly nats: NatsWakesSettings | undefined;
  readonly node: string;
  readonly roles: Config['node']['roles'];
  /** What it has seen confirmed. */
  readonly file: string;
}

async function openNode(options: NodeOptions): Promise<Cluster> {
  const { database, nats, node, roles, version, protocol, tables, file, now, log } = options;
  await database.check();
  const neighbours = new Neighbours({ database, node, protocol, tables });
  await neighbours.prepareLease();
  const clock = suspensionAwareClock();
  const records = new NodeRecords(database, node, clock);
  const removed = () => new Problem('node_removed', { reason: `node ${node} was removed` });
  if (await records.isRemoved(node)) throw removed();
  const watch = await StoreWatch.open({ file, database, node, now, log });

  const listeners = new Set<(liveness: Liveness) => void>();
  const lost = Promise.withResolvers<Problem>();
  const heartbeat = new Heartbeat({
    now: clock,
    schedule: (milliseconds, action) => {
      const timer = setTimeout(action, milliseconds);
      return () => clearTimeout(timer);
    },
    onChange: (liveness) => {
      for (const listener of listeners) listener(liveness);
    },
  });
  const failing = new FailureLog(log);
  const lease = await NodeLease.take({
    ...{ database, node, heartbeat, now: clock },
    onFailure: (error) => failing.failed(error, 'the heartbeat of this node was not confirmed'),
    onLost: (isRestored) => {
      if (isRestored) {
        watch.end();
        lost.resolve(databaseRestored(`expected more renewals of the lease of ${node} than it had confirmed`));
        return;
      }
      const told = (isRemoved: boolean) =>
        lost.resolve(
          isRemoved ? removed() : new Problem('node_exists', { reason: `another process has the lease of ${node}` }),
        );
      records.isRemoved(node).then(told, () => told(false));
    },
  });
  const unlessRefused = (checked: Promise<void>): Promise<void> =>
    checked.catch(async (error: unknown) => {
      await lease.release();
      throw error;
    });
  await unlessRefused(
    (async () => {
      await neighbours.prepare();
      // A migration looks for nodes after it has its lease, and a node for a migration after it has its own: one of them finds the other.
      await expectUsableSharedStore(database, node, clock);
      await neighbours.expectBeside();
    })(),
  );
  listeners.add((liveness) => {
    if (liveness === 'alive') failing.ended();
  });
  const ofWakes = {
    onLost: (error: unknown) => failing.failed(error, WAKES_LOST),
    onConnected: () => {
      if (failing.recovered(WAKES_LOST)) log.info('the connection for wakes is there again');
    },
  };
  const wakes =
    nats === undefined ? new PostgresWakes({ database, ...ofWakes }) : new NatsWakes({ ...nats, ...ofWakes });
  const leases = new LeaseTable({ database, node, now: clock });
  const singletons = new Singletons({
    ...{ database, node, wakes, now: clock },
    onFailure: (error) => failing.failed(error, 'leases were not renewed'),
  });
  const record = await OwnRecord.open({
    ...{ records, database, wakes, node, roles, version, protocol, tables: versionsOf(tables), now },
    failed: (error) => failing.failed(error, 'this node could not tell others of itself'),
  });
  await unlessRefused(neighbours.expectBeside()).catch(async (error: unknown) => {
    record.close();
    await singletons.close();
    await wakes.close();
    throw error;
  });
  warnOfSkew(record.skew, log);
  // It was removed while it waited for its name.
  if (await records.isRemoved(node)) lost.resolve(removed());
  log.info({ node, roles, epoch: lease.epoch }, 'this node has its name');
  return {
    ...{ node, database, wakes, singletons, clock },
    liveness: () => heartbeat.liveness,
    heardAt: () => heartbeat.confirmedAt,
    onLiveness: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onLost: (listener) => void lost.promise.then(listener),
    lose: lost.resolve,
    expectCompatible: () => neighbours.expectCompatible(),
    nodes: () => records.list(),
    remove: (name) => records.remove(name, now()),
    admit: (name, joinedAs) => records.admit(name, joinedAs, now()),
    databaseRoles: new NodeRoles(database),
    order: async (name, order) => {
      const number = await records.order(name, order);
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
      watch.watch(registry, { clock, heardAt: () => heartbeat.confirmedAt, renewals: () => lease.renewals }),
    countWith: (counts) => {
      record.counts = counts;
    },
    close: async () => {
      record.close();
      watch.end();
      listeners.clear();
      await singletons.close();
      await wakes.close();
      await lease.release();
      await database.close();
    },
  };
}

export function isSkewed({ skew, uncertainty }: ClockSkew): boolean {
  return Math.abs(skew) - uncertainty > SKEW_TOLERATED_MS;
}

function warnOfSkew(found: ClockSkew, log: Logger): void {
  if (!isSkewed(found)) return;
  log.warn({ skewMs: Math.round(found.skew) }, 'the clock of this node differs from that of the database');
}

/** Logs the first failure of a row, for heartbeats fail four times a second. */
class FailureLog {
  readonly #log: Logger;
  readonly #failing = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  failed(error: unknown, message: string): void {
    if (this.#failing.has(message)) return;
    this.#failing.add(message);
    this.#log.warn({ err: error }, message);
  }

  ended(): void {
    this.#failing.clear();
  }

  /** Whether this one failed until now. */
  recovered(message: string): boolean {
    return this.#failing.delete(message);
  }
}
