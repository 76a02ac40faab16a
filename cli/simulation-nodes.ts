/** Temporary nodes for a simulation, in place of one server: over a PostgreSQL quorum of this machine, behind a load balancer. */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BalancedNodes } from './demo/balanced-nodes.ts';
import type { NodeProcess } from './demo/node-process.ts';
import { PostgresQuorum } from './demo/postgres-quorum.ts';
import { mergedSettings, type Settings } from './merged-settings.ts';
import { NO_FLEET_LIMITS, type TemporaryServer } from './simulation-server.ts';
import { note } from './terminal.ts';

export interface TemporaryNodesOptions {
  /** Two or more. */
  readonly nodes: number;
  /** Of each node, as in rollcall.example.yaml; over those that a simulation needs. */
  readonly settings: Settings;
}

/** An incident that ends the server ends the last of the nodes. Throws Problem `usage` when PostgreSQL is not installed. */
export async function startTemporaryNodes({ nodes, settings }: TemporaryNodesOptions): Promise<TemporaryServer> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-simulation-'));
  // The user of PostgreSQL enters it. What is in it has rights of its own.
  chmodSync(directory, 0o711);
  const onChange = (text: string) => note(text);
  let postgres: PostgresQuorum | undefined;
  let cluster: BalancedNodes | undefined;
  const close = async () => {
    await cluster?.close();
    await postgres?.close();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    postgres = await PostgresQuorum.start({
      ...{ directory: join(directory, 'postgres'), path: process.env.PATH, onChange },
    });
    const { url, passwordFile } = postgres;
    cluster = await BalancedNodes.start({
      ...{ nodes, directory, onChange, store: { url, passwordFile, standbys: 1 } },
      settings: mergedSettings({ log: { level: 'warn' }, mqtt: { limits: NO_FLEET_LIMITS } }, settings),
    });
  } catch (error) {
    await close();
    throw error;
  }
  const [first] = cluster.nodes as [NodeProcess];
  const last = cluster.nodes.at(-1) as NodeProcess;
  const { watch } = cluster;
  return {
    socket: join(first.data, 'console.sock'),
    data: first.data,
    mqttUrl: `mqtts://localhost:${cluster.balancer.port}`,
    restart: async (how, downFor) => {
      watch.ended(last);
      await last.restart(how === 'kill' ? 'SIGKILL' : 'SIGTERM', downFor);
    },
    fillDisk: async () => {
      throw new Error('expected one server, whose disk can be filled, and not several nodes over a database');
    },
    close,
  };
}
