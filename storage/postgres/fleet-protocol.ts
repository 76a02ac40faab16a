/**
 * What nodes that share a store agree on, and who may run beside whom. Two kinds of numbers say it, and every node publishes both in its
 * record (`nodes`):
 *
 * - The version of each set of tables, which is the number of its migrations (`migrations.ts`). Each migration says which older code may
 *   still use the tables.
 * - `FLEET_PROTOCOL.number`, for what nodes write for each other: kinds of changes (`registry_changes`) and what confirms them, kinds of
 *   messages between nodes (`node_messages`), orders in node records, names of leases, the format of journal blocks, and JSON in columns.
 *
 * A release that adds an optional field, which others may ignore, keeps the number. A release that adds a kind, or a field that others
 * must understand, raises `number`; when it cannot run beside nodes without it, it raises `oldest` too. A node does not pass over a kind
 * that it does not know: it ends with Problem `node_outdated`.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { LiveNode } from './live-nodes.ts';

export interface FleetProtocol {
  /** What the node writes. */
  readonly number: number;
  /** The smallest number that another node may have. */
  readonly oldest: number;
}

/** Of this release. 1: of a node that publishes no number. What changed before the first release is in the versions of tables alone. */
export const FLEET_PROTOCOL: FleetProtocol = { number: 2, oldest: 1 };

/** From this number on a node knows messages that ask it something, and their responses. */
export const ANSWERS_REQUESTS = 2;

/** In this time a node that starts has published its record, and one that stops has released its lease. */
const SETTLES_WITHIN_MS = 1_500;
const LOOK_EVERY_MS = 250;

/** Throws Problem `node_release_too_far` when a node that may have connections cannot run beside this one. */
export function expectNeighbours(own: FleetProtocol, others: readonly LiveNode[]): void {
  const tooFar = others.filter(({ protocol }) => protocol && !mayRunTogether(own, protocol));
  if (tooFar.length === 0) return;
  const found = tooFar.map((node) => `${describeNode(node)} writes ${rangeOf(node.protocol ?? own)}`);
  throw new Problem('node_release_too_far', {
    reason: `this node writes ${rangeOf(own)}; ${found.join(', ')}`,
    hint: 'upgrade through the releases between, or stop these nodes first',
  });
}

/** Tries again for a moment while nodes that start or stop are in the way. Throws what `attempt` throws then. */
export async function whenNodesSettle<T>(code: Problem['code'], attempt: () => Promise<T>): Promise<T> {
  const until = performance.now() + SETTLES_WITHIN_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== code || performance.now() >= until) throw error;
    }
    await delay(LOOK_EVERY_MS);
  }
}

export function describeNode({ name, release, closedBy }: Pick<LiveNode, 'name' | 'release' | 'closedBy'>): string {
  const silence =
    closedBy === undefined ? '' : `; not heard now, and counts as running until ${new Date(closedBy).toISOString()}`;
  return `${name} (release ${release ?? 'unknown'}${silence})`;
}

function mayRunTogether(one: FleetProtocol, other: FleetProtocol): boolean {
  return one.number >= other.oldest && other.number >= one.oldest;
}

function rangeOf({ number, oldest }: FleetProtocol): string {
  return `protocol ${number} and reads ${oldest} or newer`;
}
