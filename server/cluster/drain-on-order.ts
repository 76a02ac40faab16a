/** Carries out what an operator ordered for this node on any node: it ends its sessions and accepts no connection, or accepts them again. */

import type { Logger } from 'pino';
import type { NodeBroker } from '../../broker/index.ts';
import type { Cluster } from './cluster.ts';
import type { OrderHandler } from './own-record.ts';

export interface DrainOnOrderOptions {
  readonly cluster: Pick<Cluster, 'node' | 'setDrained'>;
  readonly broker: Pick<NodeBroker, 'drainNode' | 'undrain'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export function drainOnOrder({ cluster, broker, now, log }: DrainOnOrderOptions): OrderHandler {
  const { node } = cluster;
  const undrain = () => {
    broker.undrain();
    cluster.setDrained(undefined);
    log.info({ node }, 'node accepts connections again');
  };
  return async ({ kind, within, sessionsPerSecond, restart }) => {
    if (kind === 'undrain') return undrain();
    cluster.setDrained(now());
    log.info({ node, within, sessionsPerSecond, restart }, 'node is drained');
    await broker.drainNode({ within, sessionsPerSecond });
    log.info({ node }, 'node was drained');
    if (restart) undrain();
    else cluster.setDrained(now());
  };
}
