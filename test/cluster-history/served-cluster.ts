/** Nodes as processes over a real PostgreSQL with standbys, for a history: started together, ended and removed together. */

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { freePort } from '../fixtures/postgres-programs.ts';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';
import { PASSWORD, USER } from '../fixtures/postgres-template.ts';
import { ServedNode } from './served-node.ts';

export interface ServedClusterOptions {
  readonly standbys: number;
  readonly nodes: readonly string[];
  /** A module that each node loads before the program, to break a part of it. */
  readonly broken?: URL | undefined;
  /** The longest time that all of it runs, ms. */
  readonly longest: number;
}

interface Ports {
  readonly mqtt: number;
  readonly enroll: number;
}

const SCHEMA = 'rollcall';

export class ServedCluster {
  readonly postgres: PostgresCluster;
  readonly nodes: readonly ServedNode[];
  readonly #directory: string;

  static async start(options: ServedClusterOptions): Promise<ServedCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-cluster-'));
    const postgres = await PostgresCluster.start({ standbys: options.standbys });
    // A node that starts again is where it was.
    const ports: Ports[] = [];
    for (const _ of options.nodes) ports.push({ mqtt: await freePort(), enroll: await freePort() });
    const cluster = new ServedCluster(postgres, directory, options, ports);
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
    postgres: PostgresCluster,
    directory: string,
    { standbys, nodes, broken, longest }: ServedClusterOptions,
    ports: readonly Ports[],
  ) {
    this.postgres = postgres;
    this.#directory = directory;
    const password = join(directory, 'password');
    writeFileSync(password, PASSWORD, { mode: 0o600 });
    const hosts = postgres.nodes.map(({ port }) => `127.0.0.1:${port}`).join();
    const environment = {
      ROLLCALL_STORE_URL: `postgres://${USER}@${hosts}/rollcall`,
      ROLLCALL_STORE_PASSWORD_FILE: password,
      ROLLCALL_STORE_STANDBYS: String(Math.min(1, standbys)),
      ...(broken && { NODE_OPTIONS: `--import ${broken}` }),
    };
    this.nodes = nodes.map((name, index) => {
      const { mqtt, enroll } = ports[index] as Ports;
      const data = join(directory, name);
      mkdirSync(data, { mode: 0o700 });
      const args = ['--mqtt-port', String(mqtt), '--enroll-port', String(enroll)];
      return new ServedNode({ name, data, arguments: args, environment, longest });
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
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
