/** Nodes, a load balancer and devices that publish through it, for the scripts about several nodes: started together, ended and removed together. */

import { setTimeout as delay } from 'node:timers/promises';
import { BalancedNodes, type BalancedNodesOptions } from '../../cli/demo/balanced-nodes.ts';
import { DemoFleet } from '../../cli/demo/demo-fleet.ts';
import type { NodeProcess } from '../../cli/demo/node-process.ts';
import { createLogger } from '../../server/config/load.ts';
import { Haproxy } from './haproxy.ts';
import { compareStored, type StoredMessages } from './stored-messages.ts';

export interface LoadOptions extends Omit<BalancedNodesOptions, 'onChange'> {
  readonly devices: number;
  /** Messages per second and device. */
  readonly rate: number;
  /** The load balancer: of this process, or HAProxy in front of three nodes. */
  readonly balancer?: 'own' | 'haproxy';
  readonly say: (line: string) => void;
}

const SAMPLE_MS = 20;
const CONNECTED_WITHIN_MS = 120_000;

export class LoadedNodes {
  readonly cluster: BalancedNodes;
  readonly fleet: DemoFleet;
  readonly #haproxy: Haproxy | undefined;

  /** Resolves when all devices are connected. */
  static async start({ devices, rate, balancer, say, ...options }: LoadOptions): Promise<LoadedNodes> {
    let haproxy: Haproxy | undefined;
    const cluster = await BalancedNodes.start({ ...options, onChange: say });
    try {
      const [first] = cluster.nodes as [NodeProcess, ...NodeProcess[]];
      const { text: token } = await first.operator.createToken({ uses: devices });
      if (balancer === 'haproxy') haproxy = await Haproxy.start(cluster.nodes, options.directory);
      const mqttUrl = `mqtts://localhost:${haproxy?.mqttPort ?? cluster.balancer.port}`;
      const fleet = await DemoFleet.start([{ devices, token, idPrefix: 'dev', mqttUrl }], {
        ...{ seconds: undefined, rate, log: createLogger('silent') },
      });
      await within(CONNECTED_WITHIN_MS, fleet.allConnected, 'expected all devices to connect');
      return new LoadedNodes(cluster, fleet, haproxy);
    } catch (error) {
      await haproxy?.close();
      await cluster.close();
      throw error;
    }
  }

  private constructor(cluster: BalancedNodes, fleet: DemoFleet, haproxy: Haproxy | undefined) {
    this.cluster = cluster;
    this.fleet = fleet;
    this.#haproxy = haproxy;
  }

  /** The longest time without any acknowledgement, in milliseconds, from the action until `settledFor` ms after acknowledgements go on. */
  async pauseAfter(
    action: () => void | Promise<void>,
    { settledFor, most }: { readonly settledFor: number; readonly most: number },
  ): Promise<number> {
    let longest = 0;
    let last = performance.now();
    let seen = this.fleet.counts().acknowledged;
    const begun = performance.now();
    let goesOnSince: number | undefined;
    const done = Promise.resolve(action());
    for (;;) {
      await delay(SAMPLE_MS);
      const now = performance.now();
      const { acknowledged } = this.fleet.counts();
      if (acknowledged > seen) {
        longest = Math.max(longest, now - last);
        if (now - last > 1_000 || goesOnSince === undefined) goesOnSince = now;
        seen = acknowledged;
        last = now;
      }
      if (goesOnSince !== undefined && now - goesOnSince > settledFor && now - last < 1_000) break;
      if (now - begun > most) throw new Error(`nothing was acknowledged for ${Math.round((now - last) / 1_000)} s`);
    }
    await done;
    return longest;
  }

  /** Ends the devices and compares. */
  async compare(): Promise<StoredMessages> {
    await this.fleet.stop();
    const node = this.cluster.watch.ready[0];
    if (node === undefined) throw new Error('expected a node that is ready');
    return compareStored(this.fleet, node.operator);
  }

  async close(): Promise<void> {
    await this.fleet.stop();
    await this.#haproxy?.close();
    await this.cluster.close();
  }
}

export async function within<T>(ms: number, awaited: Promise<T>, what: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} within ${ms / 1_000} s`)), ms);
  try {
    return await Promise.race([awaited, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
