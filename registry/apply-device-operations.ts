/**
 * An order on devices from its commits to the last confirmation: a few devices per transaction, so that no long one
 * keeps the house waiting, and each told as soon as it is committed.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import type { RegistryDatabase } from './database.ts';
import type { Confirmation, DeviceChange, DeviceOrder, DeviceProof } from './device-operations.ts';
import { actOnDevice, type Committed, obstacle } from './device-transitions.ts';
import type { Listeners } from './listeners.ts';
import type { Actor, Revocation } from './registry.ts';
import type { Propagation } from './termination-latency.ts';

/** Devices per transaction: a commit is one fsync, and a hundred devices are some ten milliseconds of statements. */
const AT_ONCE = 100;

export interface Audience {
  readonly revocations: Listeners<Revocation, Confirmation>;
  readonly changes: Listeners<DeviceChange, Confirmation>;
  readonly propagation: Propagation;
}

/**
 * Throws the Problem of `obstacle()` before anything is done. When the storage fails half-way, what was committed stays
 * committed and was told; the same order again does the rest. Problem `internal` when a listener failed.
 */
export async function carryOut(
  database: RegistryDatabase,
  audience: Audience,
  ids: readonly DeviceId[],
  order: DeviceOrder,
  actor: Actor,
): Promise<readonly DeviceProof[]> {
  const sorted = [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1));
  const problem = database.read((tx) => obstacle(tx, sorted, order));
  if (problem !== undefined) throw problem;
  const telling: Promise<DeviceProof>[] = [];
  try {
    for (let from = 0; from < sorted.length; from += AT_ONCE) {
      if (from > 0) await nextTurn();
      const some = sorted.slice(from, from + AT_ONCE);
      const committed = database.write((tx) => some.map((id) => actOnDevice(tx, id, order, actor)));
      const at = performance.now();
      telling.push(...committed.map((one) => tell(audience, one, at)));
    }
  } finally {
    await Promise.allSettled(telling);
  }
  return Promise.all(telling);
}

/** What is final is told as a revocation, the rest as a change. */
export async function tell(
  audience: Audience,
  { change, revocation }: Committed,
  committedAt: number,
): Promise<DeviceProof> {
  const confirmations =
    revocation === undefined ? await audience.changes.tell([change]) : await audience.revocations.tell([revocation]);
  const propagationMs = performance.now() - committedAt;
  const widens = change.act === 'resume' || change.act === 'set';
  if (!widens) audience.propagation.add(propagationMs);
  const { serials = [], reason } = revocation ?? {};
  return { ...change, serials, reason, ...sumOf(confirmations), propagationMs };
}

/** What all brokers said together. */
export function sumOf(confirmations: readonly Confirmation[]) {
  const times = confirmations.flatMap(({ lastMessageAt }) => (lastMessageAt === undefined ? [] : [lastMessageAt]));
  return {
    sessionsClosed: confirmations.reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0),
    lastMessageAt: times.length === 0 ? undefined : Math.max(...times),
    brokersConfirmed: confirmations.length,
  };
}
