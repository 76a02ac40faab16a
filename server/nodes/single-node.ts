/** The nodes of a server without threads: its process is the only one. */

import { Problem } from '@rollcall/protocol';
import type { NodeControl } from '../../console/index.ts';
import { NO_JOINS } from './no-joins.ts';

export interface SingleNodeOptions {
  readonly broker: { counters(): Readonly<Record<string, number>> };
  readonly drainDefaults: Omit<NodeControl['drainDefaults'], 'restart'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const SAMPLE_MS = 1_000;

/** To be closed with the server. */
export interface SingleNode extends NodeControl {
  /** None: those of the process are those of the node. */
  counters(): Readonly<Record<string, number>>;
  busySeconds(): Readonly<Record<string, number>>;
  setLogLevel(): void;
  close(): Promise<void>;
}

export function createSingleNode({ broker, drainDefaults, now }: SingleNodeOptions): SingleNode {
  const since = now();
  let sample = performance.eventLoopUtilization();
  let busy: number | undefined;
  const timer = setInterval(() => {
    const next = performance.eventLoopUtilization();
    busy = performance.eventLoopUtilization(next, sample).utilization;
    sample = next;
  }, SAMPLE_MS).unref();
  const refusal = (name: string) => new Problem(name === 'main' ? 'node_last' : 'node_unknown');
  const expectRemovable = (name: string): never => {
    throw new Problem(name === 'main' ? 'node_not_removable' : 'node_unknown', {
      detail: 'this server shares its store with no other',
    });
  };
  return {
    drainDefaults: { ...drainDefaults, restart: true },
    list: () => [
      {
        ...{ name: 'main', kind: 'process', state: 'serving', since },
        ...{ sessions: broker.counters().sessions ?? 0, eventLoopBusy: busy, crashes: 0 },
      },
    ],
    expectDrainable: (name) => {
      throw refusal(name);
    },
    drain: (name) => Promise.reject(refusal(name)),
    undrain: (name) => Promise.reject(new Problem(name === 'main' ? 'node_busy' : 'node_unknown')),
    expectRemovable,
    remove: async (name) => expectRemovable(name),
    ...NO_JOINS,
    counters: () => ({}),
    busySeconds: () => ({}),
    setLogLevel: () => {},
    close: async () => clearInterval(timer),
  };
}
