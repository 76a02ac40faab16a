/** Several nodes over a PostgreSQL quorum on this machine, each a process of its own, and a load balancer in front of them. */

import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { NodeProcess } from './node-process.ts';
import { NodeWatch } from './node-watch.ts';
import { PostgresQuorum } from './postgres-quorum.ts';
import { TcpBalancer } from './tcp-balancer.ts';

export interface DemoClusterOptions {
  /** Two or more. */
  readonly nodes: number;
  /** Where PostgreSQL's user may enter, and all files go. */
  readonly directory: string;
  /** A sentence about what happened. */
  readonly onChange: (text: string) => void;
  /** Called between the steps of the start, which ends with what it throws. */
  readonly checkStopped: () => void;
}

export class DemoCluster {
  readonly nodes: readonly NodeProcess[];
  readonly postgres: PostgresQuorum;
  readonly watch: NodeWatch;
  readonly balancer: TcpBalancer;

  static async start(options: DemoClusterOptions): Promise<DemoCluster> {
    const { directory, onChange, checkStopped } = options;
    const postgres = await PostgresQuorum.start({
      directory: join(directory, 'postgres'),
      path: process.env.PATH,
      onChange,
    });
    const nodes: NodeProcess[] = [];
    const { url, passwordFile } = postgres;
    try {
      checkStopped();
      let watch: NodeWatch | undefined;
      for (let number = 1; number <= options.nodes; number++) {
        const node: NodeProcess = await NodeProcess.prepare({
          ...{ name: `node-${number}`, directory, store: { url, passwordFile, standbys: 1 } },
          onEnd: (how) => {
            watch?.ended(node);
            onChange(`${node.name} ended by ${how}; it is started again`);
          },
          onRestarted: () => onChange(`${node.name} runs again`),
        });
        nodes.push(node);
      }
      const [first, ...others] = nodes as [NodeProcess, ...NodeProcess[]];
      await first.start();
      checkStopped();
      // As an operator copies the keys of the CA to the next host.
      for (const { data } of others) cpSync(join(first.data, 'ca'), join(data, 'ca'), { recursive: true });
      await Promise.all(others.map((node) => node.start()));
      checkStopped();
      watch = await NodeWatch.start(nodes, onChange);
      const ready = watch;
      const balancer = await TcpBalancer.listen(() =>
        ready.ready.map(({ name, mqttPort }) => ({ name, port: mqttPort })),
      );
      return new DemoCluster({ nodes, postgres, watch, balancer });
    } catch (error) {
      await Promise.all(nodes.map((node) => node.close()));
      await postgres.close();
      throw error;
    }
  }

  private constructor(parts: Pick<DemoCluster, 'nodes' | 'postgres' | 'watch' | 'balancer'>) {
    this.nodes = parts.nodes;
    this.postgres = parts.postgres;
    this.watch = parts.watch;
    this.balancer = parts.balancer;
  }

  /** Ends all processes. Removes nothing. */
  async close(): Promise<void> {
    this.watch.close();
    await this.balancer.close();
    await Promise.all(this.nodes.map((node) => node.close()));
    await this.postgres.close();
  }
}
