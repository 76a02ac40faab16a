/**
 * Nodes as processes over a real PostgreSQL with standbys, for a history: started together, ended and removed together. On request each
 * node is on a host of its own that can be cut off, or the database is one under Patroni.
 */

import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { CuttableHosts } from '../fixtures/cuttable-hosts.ts';
import { freePort } from '../fixtures/postgres-programs.ts';
import type { PostgresCluster } from '../fixtures/postgres-servers.ts';
import type { PatroniCluster } from '../several-nodes/patroni-cluster.ts';
import { type ServedDatabase, startPatroni, startPostgres } from './served-database.ts';
import { ServedNode } from './served-node.ts';

export interface ServedClusterOptions {
  readonly standbys: number;
  /** Two standbys under Patroni, with etcd, in place of `standbys`; its addresses are those of this machine alone. */
  readonly patroni?: boolean | undefined;
  readonly nodes: readonly string[];
  /** Each node in a network namespace of its own (`CuttableHosts.missing`). */
  readonly ownHosts?: boolean | undefined;
  /** A module that each node loads before the program, to break a part of it. */
  readonly broken?: URL | undefined;
  /** What each node runs in place of `bin/rollcall`. */
  readonly program?: string | undefined;
  /** The longest time that all of it runs, ms. */
  readonly longest: number;
}

interface Ports {
  readonly mqtt: number;
  readonly enroll: number;
}

const SCHEMA = 'rollcall';

export class ServedCluster {
  readonly nodes: readonly ServedNode[];
  /** Of the nodes, by their names; undefined where they are on this one. */
  readonly hosts: CuttableHosts | undefined;
  readonly #database: ServedDatabase;
  readonly #directory: string;

  static async start(options: ServedClusterOptions): Promise<ServedCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-cluster-'));
    const hosts = options.ownHosts === true ? CuttableHosts.open(options.nodes) : undefined;
    // The user of PostgreSQL enters it.
    chmodSync(directory, 0o711);
    const starting =
      options.patroni === true ? startPatroni(directory) : startPostgres(options.standbys, hosts, directory);
    const database = await starting.catch((error: unknown) => {
      hosts?.close();
      throw error;
    });
    // A node that starts again is where it was.
    const ports: Ports[] = [];
    for (const _ of options.nodes) ports.push({ mqtt: await freePort(), enroll: await freePort() });
    const cluster = new ServedCluster(database, hosts, directory, options, ports);
    try {
      const [first, ...others] = cluster.nodes as [ServedNode, ...ServedNode[]];
      await first.start();
      for (const { data } of others) cpSync(join(first.data, 'ca'), join(data, 'ca'), { recursive: true });
      await Promise.all(others.map((node) => node.start()));
      return cluster;
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
  }

  private constructor(
    database: ServedDatabase,
    hosts: CuttableHosts | undefined,
    directory: string,
    { nodes, broken, program, longest }: ServedClusterOptions,
    ports: readonly Ports[],
  ) {
    this.hosts = hosts;
    this.#database = database;
    this.#directory = directory;
    const environment = { ...database.environment, ...(broken && { NODE_OPTIONS: `--import ${broken}` }) };
    this.nodes = nodes.map((name, index) => {
      const { mqtt, enroll } = ports[index] as Ports;
      const data = join(directory, name);
      mkdirSync(data, { mode: 0o700 });
      const host = hosts?.host(name);
      const own = host?.addresses.clients;
      const args = ['--mqtt-port', String(mqtt), '--enroll-port', String(enroll)];
      if (own !== undefined) args.push('--host', own, '--public-host', own);
      return new ServedNode({ name, data, arguments: args, environment, program, longest, below: host?.entrance });
    });
  }

  /** Throws under Patroni. */
  get postgres(): PostgresCluster {
    const { postgres } = this.#database;
    if (postgres === undefined) throw new Error('expected a database that a script fails over, found Patroni');
    return postgres;
  }

  /** Throws without Patroni. */
  get patroni(): PatroniCluster {
    const { patroni } = this.#database;
    if (patroni === undefined) throw new Error('expected Patroni');
    return patroni;
  }

  /** The first that runs. */
  get anyNode(): ServedNode {
    const node = this.nodes.find(({ isRunning }) => isRunning);
    if (node === undefined) throw new Error('no node runs');
    return node;
  }

  /** Devices with these ids, with certificates. */
  async enroll(ids: readonly string[]): Promise<readonly StoredIdentity[]> {
    const { text } = await this.anyNode.operator.createToken({ uses: ids.length });
    const identities: StoredIdentity[] = [];
    for (const deviceId of ids) identities.push(await enrollOnce(memoryIdentityStore(), { token: text, deviceId }));
    return identities;
  }

  /** In the schema of the nodes, as the database's superuser. Throws while the primary does not answer. */
  ask<Row extends Record<string, unknown>>(sql: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    return this.#database.ask<Row>(sql.replaceAll('SCHEMA.', `${SCHEMA}.`), values);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.end('SIGKILL')));
    await this.#database.dispose();
    this.hosts?.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
