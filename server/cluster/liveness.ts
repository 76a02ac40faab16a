/**
 * Has the broker of a node act only while others know that the node is there. A node that is heard again first looks whether its release may
 * still be used and its sessions are still its own, and does what follows from the changes that it missed, so that nothing of a device that was revoked meanwhile is acknowledged
 * or delivered.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { NodeBroker } from '../../broker/index.ts';
import type { SharedRegistry } from '../../registry/open.ts';
import type { Liveness } from '../../storage/index.ts';
import type { Cluster } from './cluster.ts';

export interface LivenessOptions {
  readonly cluster: Pick<Cluster, 'liveness' | 'onLiveness' | 'onLost' | 'lose' | 'expectCompatible'>;
  readonly broker: Pick<NodeBroker, 'setDeaf' | 'closeSessions'>;
  readonly registry: Pick<SharedRegistry, 'changesHeard'>;
  /** Throws Problem `node_superseded` when other nodes have taken over the sessions of this one, and what the database throws. */
  readonly expectOwn: () => Promise<void>;
  readonly log: Logger;
  /** Milliseconds between two tries to read what was missed; 250 when left out. */
  readonly retryEvery?: number;
}

const RETRY_EVERY_MS = 250;
/** Its release cannot be used any more: nothing that it reads helps. */
const TOO_OLD = ['node_outdated', 'node_release_too_far', 'database_newer'];

/** Returns a function that ends it. */
export function connectLiveness(options: LivenessOptions): () => void {
  const { cluster, broker, registry, expectOwn, log, retryEvery = RETRY_EVERY_MS } = options;
  // A change that comes meanwhile makes an earlier one void.
  let changes = 0;

  const hear = async (): Promise<void> => {
    const own = changes;
    while (own === changes) {
      try {
        await cluster.expectCompatible();
        await expectOwn();
        await registry.changesHeard();
        if (own === changes && cluster.liveness() === 'alive') broker.setDeaf(false);
        return;
      } catch (error) {
        if (error instanceof Problem && error.code === 'node_superseded') return broker.closeSessions();
        if (error instanceof Problem && TOO_OLD.includes(error.code)) return cluster.lose(error);
        log.warn({ err: error }, 'changes of other nodes could not be read; this node stays deaf');
        await delay(retryEvery, undefined, { ref: false });
      }
    }
  };
  const apply = (liveness: Liveness): void => {
    changes += 1;
    if (liveness === 'alive') {
      void hear();
      return;
    }
    broker.setDeaf(true);
    if (liveness !== 'expired') return;
    log.error('no heartbeat of this node was confirmed in time: its connections are closed');
    broker.closeSessions();
  };
  const stop = cluster.onLiveness(apply);
  let isStopped = false;
  // What a newer node has decided may concern any session.
  cluster.onLost(({ code }) => {
    if (isStopped || !TOO_OLD.includes(code)) return;
    changes += 1;
    broker.setDeaf(true);
    broker.closeSessions();
  });
  if (cluster.liveness() !== 'alive') apply(cluster.liveness());
  return () => {
    changes += 1;
    isStopped = true;
    stop();
  };
}
