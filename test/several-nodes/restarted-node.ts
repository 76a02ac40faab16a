/** A node under load that is stopped by SIGTERM and started again: how long its devices take to connect to the others. */

import { setTimeout as delay } from 'node:timers/promises';
import type { NodeProcess } from '../../cli/demo/node-process.ts';
import { MetricSamples } from '../../cli/top/metric-samples.ts';
import type { LoadedNodes } from './loaded-nodes.ts';

export interface DrainPlan {
  readonly within: number;
  readonly perSecond: number;
}

export interface Restart {
  readonly sessions: number;
  /** Milliseconds in which the drain tells the last session. */
  readonly plan: number;
  /** Milliseconds from SIGTERM until every device is connected. */
  readonly took: number;
  /** The most pending connections that another node had. */
  readonly pending: number;
}

const SAMPLE_MS = 50;
const GIVEN_UP_AFTER_MS = 120_000;

/** Resolves when the node takes devices again. */
export async function restartNode(
  { cluster, fleet }: LoadedNodes,
  node: NodeProcess,
  drain: DrainPlan,
): Promise<Restart> {
  const sessions = await sessionsOf(node);
  const plan = Math.min(drain.within, (sessions * 1_000) / drain.perSecond);
  const others = cluster.nodes.filter((other) => other !== node);
  const { pid } = node;
  const begun = performance.now();
  process.kill(pid as number, 'SIGTERM');
  let pending = 0;
  let took: number | undefined;
  while (took === undefined || !cluster.watch.isReady(node) || node.pid === pid) {
    await delay(SAMPLE_MS);
    const found = await Promise.all(others.map(pendingConnections));
    pending = Math.max(pending, ...found);
    const isLeft = node.pid !== pid || (await sessionsOf(node).catch(() => 0)) === 0;
    const passed = performance.now() - begun;
    if (took === undefined && isLeft && fleet.counts().connected === fleet.counts().devices) took = passed;
    if (passed > GIVEN_UP_AFTER_MS) throw new Error(`${node.name} did not come back, or devices did not`);
  }
  return { sessions, plan, took, pending };
}

async function sessionsOf({ operator }: NodeProcess): Promise<number> {
  return new MetricSamples(await operator.metrics()).value('rollcall_sessions');
}

async function pendingConnections({ operator }: NodeProcess): Promise<number> {
  return new MetricSamples(await operator.metrics()).value('rollcall_pending_connections');
}
