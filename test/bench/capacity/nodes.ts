/** The servers of the capacity runs: one with its own store, or nodes that share a PostgreSQL with two standbys. */

import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PostgresCluster } from '../../fixtures/postgres-servers.ts';
import { PASSWORD, USER } from '../../fixtures/postgres-template.ts';
import type { BenchResources } from '../children.ts';
import { cpuOf, cpuOfFamily, residentOf } from '../process-meter.ts';
import { WITHOUT_RATE_LIMITS } from '../servers.ts';

export const PROGRAM = fileURLToPath(new URL('../../../cli/main.ts', import.meta.url));
const SERVER_PRELOAD = new URL('../server-preload.ts', import.meta.url).href;
/** SIGUSR2 collects garbage. */
const NODE_OPTIONS = ['--expose-gc', '--import', SERVER_PRELOAD];
/** In which garbage is collected, and memory given back. */
const COLLECTED_WITHIN_MS = 1_000;

export interface CapacityNode {
  readonly data: string;
  readonly pid: number;
  readonly socketPath: string;
  readonly mqttUrl: string;
  readonly enrollPort: number;
}

/** Microseconds of CPU since the start. */
export interface Usage {
  /** Of the first node, and of all others together. */
  readonly first: number;
  readonly others: number;
  /** Of the primary, and of each standby; 0 without a database. */
  readonly primary: number;
  readonly standby: number;
}

export interface Fleet {
  readonly nodes: readonly CapacityNode[];
  usage(): Usage;
  /** Bytes of each node, after a collection of garbage. */
  resident(): Promise<readonly number[]>;
  /** A counter or gauge of `/metrics`, of all nodes together. */
  metric(name: string): Promise<number>;
  /** Each node is a new process afterwards, with other ports. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const STANDBYS = 2;

/** Databases that run now: an interrupted run ends them. */
const databases = new Set<PostgresCluster>();

export async function endDatabases(): Promise<void> {
  await Promise.all([...databases].map((database) => database.dispose()));
}

/** `count` nodes with a database, or one with a store of its own: 0. */
export async function startFleet(borrowed: BenchResources, count: number): Promise<Fleet> {
  const directory = mkdtempSync(join(borrowed.directory, 'fleet-'));
  const config = join(directory, 'rollcall.yaml');
  writeFileSync(config, WITHOUT_RATE_LIMITS);
  const cluster =
    count === 0
      ? undefined
      : await PostgresCluster.start({
          standbys: STANDBYS,
          settings: ['shared_buffers=256MB', 'max_wal_size=4GB', 'max_connections=200'],
        });
  if (cluster !== undefined) databases.add(cluster);
  const store = cluster === undefined ? [] : await storeOf(cluster, directory);
  const children: { stop(): Promise<void> }[] = [];
  const nodes: CapacityNode[] = [];
  const startNode = async (index: number) => {
    const data = join(directory, `node-${index + 1}`);
    const ports = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0', '--workers', '1'];
    const own = cluster === undefined ? [] : ['--node-name', `node-${index + 1}`];
    const args = [PROGRAM, 'serve', '--config', config, '--data', data, '--json', ...ports, ...store, ...own];
    const child = borrowed.start({
      name: `node-${index + 1}`,
      program: process.execPath,
      args: [...NODE_OPTIONS, ...args],
    });
    children[index] = child;
    const ready = JSON.parse(await child.firstLine()) as Record<'enrollUrl' | 'mqttUrl' | 'socket', string>;
    const { mqttUrl, socket: socketPath } = ready;
    nodes[index] = { data, pid: child.pid, socketPath, mqttUrl, enrollPort: Number(new URL(ready.enrollUrl).port) };
  };
  for (let index = 0; index < Math.max(1, count); index += 1) {
    const data = join(directory, `node-${index + 1}`);
    mkdirSync(data, { mode: 0o700 });
    const [first] = nodes;
    if (first !== undefined) cpSync(join(first.data, 'ca'), join(data, 'ca'), { recursive: true });
    await startNode(index);
  }
  return {
    nodes,
    usage: () => {
      const [first = 0, ...others] = nodes.map(({ pid }) => cpuOf(pid));
      return {
        first,
        others: others.reduce((sum, micros) => sum + micros, 0),
        primary: cluster === undefined ? 0 : cpuOfFamily(cluster.primary.pid as number),
        standby:
          cluster === undefined
            ? 0
            : cluster.standbys.reduce((sum, { pid }) => sum + cpuOfFamily(pid as number), 0) / STANDBYS,
      };
    },
    resident: async () => {
      for (const { pid } of nodes) process.kill(pid, 'SIGUSR2');
      await delay(COLLECTED_WITHIN_MS);
      return nodes.map(({ pid }) => residentOf(pid));
    },
    metric: async (name) => {
      let sum = 0;
      for (const { socketPath } of nodes) sum += await metricOf(socketPath, name);
      return sum;
    },
    restart: async () => {
      for (const child of children) await child.stop();
      for (const index of nodes.keys()) await startNode(index);
    },
    stop: async () => {
      for (const child of children) await child.stop();
      if (cluster !== undefined) databases.delete(cluster);
      await cluster?.dispose();
    },
  };
}

async function storeOf(cluster: PostgresCluster, directory: string): Promise<readonly string[]> {
  const { schema, hosts } = cluster.settings();
  await cluster.primary.ask(`CREATE SCHEMA ${schema} AUTHORIZATION ${USER}`);
  const passwordFile = join(directory, 'password');
  writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
  // Where there is no flag, the variable is inherited by the nodes.
  process.env.ROLLCALL_STORE_SCHEMA = schema;
  process.env.ROLLCALL_STORE_PASSWORD_FILE = passwordFile;
  process.env.ROLLCALL_STORE_STANDBYS = '1';
  const addresses = hosts.map(({ host, port }) => `${host}:${port}`).join();
  return ['--store', `postgres://${USER}@${addresses}/rollcall`];
}

function metricOf(socketPath: string, name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path: '/metrics', agent: false }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const line = Buffer.concat(chunks)
        .toString()
        .split('\n')
        .find((text) => text.startsWith(`${name} `));
      if (line === undefined) reject(new Error(`expected the metric ${name}, found none`));
      else resolve(Number(line.slice(name.length)));
    })
      .once('error', reject)
      .end();
  });
}
