/** Several nodes over one database on this machine, each a process of its own, and a load balancer in front of them. */

import type { Settings } from '../merged-settings.ts';
import { NodeProcess, type NodeStore } from './node-process.ts';
import { NodeWatch } from './node-watch.ts';
import { TcpBalancer } from './tcp-balancer.ts';

export interface BalancedNodesOptions {
  /** Two or more. */
  readonly nodes: number;
  /** All files go there. */
  readonly directory: string;
  readonly store: NodeStore;
  /** As in rollcall.example.yaml, over what the nodes of one machine need. */
  readonly settings?: Settings;
  /** `cli/main.ts` of another release. */
  readonly main?: string;
  /** A sentence about what happened. */
  readonly onChange: (text: string) => void;
  /** Called between the steps of the start, which ends with what it throws. */
  readonly checkStopped?: () => void;
}

export class BalancedNodes {
  readonly nodes: readonly NodeProcess[];
  readonly watch: NodeWatch;
  readonly balancer: TcpBalancer;

  static async start(options: BalancedNodesOptions): Promise<BalancedNodes> {
    const { directory, onChange, store, settings, main, checkStopped = () => {} } = options;
    const nodes: NodeProcess[] = [];
    try {
      let watch: NodeWatch | undefined;
      for (let number = 1; number <= options.nodes; number++) {
        const node: NodeProcess = await NodeProcess.prepare({
          ...{ name: `node-${number}`, directory, store, settings, main },
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
      for (const node of others) {
        await node.join(first);
        checkStopped();
      }
      await Promise.all(others.map((node) => node.start()));
      checkStopped();
      watch = await NodeWatch.start(nodes, onChange);
      const ready = watch;
      const balancer = await TcpBalancer.listen(() =>
        ready.ready.map(({ name, mqttPort }) => ({ name, port: mqttPort })),
      );
      return new BalancedNodes(nodes, watch, balancer);
    } catch (error) {
      await Promise.all(nodes.map((node) => node.close()));
      throw error;
    }
  }

  private constructor(nodes: readonly NodeProcess[], watch: NodeWatch, balancer: TcpBalancer) {
    this.nodes = nodes;
    this.watch = watch;
    this.balancer = balancer;
  }

  /** Ends all processes. Removes nothing. */
  async close(): Promise<void> {
    this.watch.close();
    await this.balancer.close();
    await Promise.all(this.nodes.map((node) => node.close()));
  }
}
