/** Three nodes of a server over PostgreSQL with two standbys of which any one confirms, and devices of them, on this machine. */

import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';
import { DATABASE, PASSWORD, USER } from '../fixtures/postgres-template.ts';
import type { Bench } from './bench.ts';
import type { LoadGenerator } from './load-generator.ts';
import type { RunningRollcall } from './servers.ts';

export interface SharedNodes {
  readonly postgres: PostgresCluster;
  readonly nodes: readonly [RunningRollcall, RunningRollcall, RunningRollcall];
  /** Has the devices of these nodes. */
  readonly load: LoadGenerator;
  stop(): Promise<void>;
}

/** Devices that enroll in one order, which is limited in time. */
const ENROLLED_AT_ONCE = 250;
const IN_FLIGHT = 16;

export async function startSharedNodes({ servers, mint, newLoad }: Bench, devices: number): Promise<SharedNodes> {
  const postgres = await PostgresCluster.start({ standbys: 2, settings: ['shared_buffers=128MB', 'max_wal_size=4GB'] });
  const started: RunningRollcall[] = [];
  const stop = async () => {
    for (const node of started) {
      process.kill(node.pid, 'SIGCONT');
      await node.stop();
    }
    await postgres.dispose();
  };
  try {
    const schema = 'bench';
    await postgres.primary.ask(`CREATE SCHEMA ${schema} AUTHORIZATION ${USER}`);
    const passwordFile = join(servers.directory, 'database-password');
    writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
    const hosts = postgres.nodes.map(({ port }) => `127.0.0.1:${port}`).join();
    const first = join(servers.directory, 'node-a');
    for (const name of ['a', 'b', 'c']) {
      const data = join(servers.directory, `node-${name}`);
      mkdirSync(data, { mode: 0o700 });
      if (data !== first) cpSync(join(first, 'ca'), join(data, 'ca'), { recursive: true });
      const store = `store: { url: "postgres://${USER}@${hosts}/${DATABASE}", schema: ${schema}, passwordFile: ${passwordFile}, standbys: 1 }`;
      started.push(await servers.startRollcall({ data, settings: `${store}\nnode: { name: ${name} }\n` }));
    }
    const nodes = started as unknown as SharedNodes['nodes'];
    const load = newLoad();
    const token = await mint(nodes[0].socketPath);
    for (let enrolled = 0; enrolled < devices; enrolled += ENROLLED_AT_ONCE) {
      const count = Math.min(ENROLLED_AT_ONCE, devices - enrolled);
      const order = {
        kind: 'enroll',
        token,
        count,
        inFlight: IN_FLIGHT,
        connections: 'reused',
        devices: 'stored',
      } as const;
      await load.order({ ...order, port: nodes[0].enrollPort });
    }
    return { postgres, nodes, load, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
