/**
 * Nodes as processes over a real PostgreSQL with standbys, for a history: started together, ended and removed together. On request each
 * node is on a host of its own that can be cut off.
 */

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { CuttableHosts } from '../fixtures/cuttable-hosts.ts';
import { makeDatedAuthority } from '../fixtures/dated-authority.ts';
import { freePort } from '../fixtures/postgres-programs.ts';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';
import { PASSWORD, USER } from '../fixtures/postgres-template.ts';
import { ServedNode } from './served-node.ts';

export interface ServedClusterOptions {
  readonly standbys: number;
  readonly nodes: readonly string[];
  /** Each node in a network namespace of its own (`CuttableHosts.missing`). */
  readonly ownHosts?: boolean | undefined;
  /** A module that each node loads before the program, to break a part of it. */
  readonly broken?: URL | undefined;
  /** The longest time that all of it runs, ms. */
  readonly longest: number;
}

interface Ports {
  readonly mqtt: number;
  readonly enroll: number;
}

interface Database {
  readonly postgres: PostgresCluster;
  /** PEM of its authority, where it is reached over a network. */
  readonly caPem: string | undefined;
}

const SCHEMA = 'rollcall';
const DAY_MS = 86_400_000;

export class ServedCluster {
  readonly postgres: PostgresCluster;
  readonly nodes: readonly ServedNode[];
  /** Of the nodes, by their names; undefined where they are on this one. */
  readonly hosts: CuttableHosts | undefined;
  readonly #directory: string;

  static async start(options: ServedClusterOptions): Promise<ServedCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-cluster-'));
    const hosts = options.ownHosts === true ? CuttableHosts.open(options.nodes) : undefined;
    const database = await startDatabase(options.standbys, hosts).catch((error: unknown) => {
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
    { postgres, caPem }: Database,
    hosts: CuttableHosts | undefined,
    directory: string,
    { standbys, nodes, broken, longest }: ServedClusterOptions,
    ports: readonly Ports[],
  ) {
    this.postgres = postgres;
    this.hosts = hosts;
    this.#directory = directory;
    const password = join(directory, 'password');
    writeFileSync(password, PASSWORD, { mode: 0o600 });
    const address = hosts?.addresses.database ?? '127.0.0.1';
    const servers = postgres.nodes.map(({ port }) => `${address}:${port}`).join();
    const ca = join(directory, 'database-ca.pem');
    if (caPem !== undefined) writeFileSync(ca, caPem);
    const environment = {
      ROLLCALL_STORE_URL: `postgres://${USER}@${servers}/rollcall`,
      ...(caPem !== undefined && { ROLLCALL_STORE_CA_FILE: ca }),
      ROLLCALL_STORE_PASSWORD_FILE: password,
      ROLLCALL_STORE_STANDBYS: String(Math.min(1, standbys)),
      ...(broken && { NODE_OPTIONS: `--import ${broken}` }),
    };
    this.nodes = nodes.map((name, index) => {
      const { mqtt, enroll } = ports[index] as Ports;
      const data = join(directory, name);
      mkdirSync(data, { mode: 0o700 });
      const host = hosts?.host(name);
      const own = host?.addresses.clients;
      const args = ['--mqtt-port', String(mqtt), '--enroll-port', String(enroll)];
      if (own !== undefined) args.push('--host', own, '--public-host', own);
      return new ServedNode({ name, data, arguments: args, environment, longest, below: host?.entrance });
    });
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
    return this.postgres.primary.ask<Row>(sql.replaceAll('SCHEMA.', `${SCHEMA}.`), values);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.end('SIGKILL')));
    await this.postgres.dispose();
    this.hosts?.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Over TLS where nodes reach it over a network. */
async function startDatabase(standbys: number, hosts: CuttableHosts | undefined): Promise<Database> {
  if (hosts === undefined) return { postgres: await PostgresCluster.start({ standbys }), caPem: undefined };
  const address = hosts.addresses.database;
  const authority = await makeDatedAuthority();
  const server = await authority.server(Date.now() - DAY_MS, Date.now() + DAY_MS, [{ type: 'ip', value: address }]);
  const tls = { server, network: { subnet: hosts.subnets.database, address } };
  return { postgres: await PostgresCluster.start({ standbys, tls }), caPem: authority.rootPem };
}
