/**
 * What the nodes of one server count, together. Counters of a thread begin with 0 when it is started again; those of the threads before it
 * are added, so that a sum never falls. Gauges are those of the present threads.
 */

import type { NodeCounters, NodeStatus } from './node-calls.ts';

interface CountedNode {
  /** Of the threads of this node that have ended; no gauges. */
  ended: Record<string, number>;
  endedBusySeconds: number;
  status: NodeStatus | undefined;
  /** Milliseconds of a monotonic clock at the last status. */
  at: number;
  /** The part of the time between the last two statuses in which the event loop was busy. */
  busy: number | undefined;
}

export class NodeCounterSums {
  readonly #isGauge: (name: string) => boolean;
  readonly #nodes = new Map<string, CountedNode>();

  constructor(isGauge: (name: string) => boolean) {
    this.#isGauge = isGauge;
  }

  /** `now`: milliseconds of a monotonic clock. */
  update(node: string, status: NodeStatus, now: number): void {
    const counted = this.#node(node);
    const before = counted.status;
    if (before !== undefined && now > counted.at) {
      const busy = ((status.busySeconds - before.busySeconds) * 1_000) / (now - counted.at);
      counted.busy = Math.min(1, Math.max(0, busy));
    }
    counted.status = status;
    counted.at = now;
  }

  /** The thread of a node has ended. */
  ended(node: string): void {
    const counted = this.#node(node);
    if (counted.status === undefined) return;
    for (const [name, value] of Object.entries(counted.status.counters)) {
      if (!this.#isGauge(name)) counted.ended[name] = (counted.ended[name] ?? 0) + value;
    }
    counted.endedBusySeconds += counted.status.busySeconds;
    counted.status = undefined;
    counted.busy = undefined;
  }

  /** Sums by name. */
  sums(): NodeCounters {
    const sums: Record<string, number> = {};
    for (const { ended, status } of this.#nodes.values()) {
      for (const counters of [ended, status?.counters ?? {}]) {
        for (const [name, value] of Object.entries(counters)) sums[name] = (sums[name] ?? 0) + value;
      }
    }
    return sums;
  }

  of(node: string): { readonly sessions: number; readonly busy: number | undefined; readonly busySeconds: number } {
    const { status, busy, endedBusySeconds } = this.#node(node);
    return {
      sessions: status?.counters.sessions ?? 0,
      busy,
      busySeconds: endedBusySeconds + (status?.busySeconds ?? 0),
    };
  }

  #node(name: string): CountedNode {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const counted: CountedNode = { ended: {}, endedBusySeconds: 0, status: undefined, at: 0, busy: undefined };
    this.#nodes.set(name, counted);
    return counted;
  }
}
