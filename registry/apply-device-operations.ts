/**
 * An order on devices from its commits to the last confirmation: a few devices per transaction, so that no long one
 * keeps the house waiting, and each told as soon as it is committed.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import type { RegistryDatabase } from './database.ts';
import type {
  DeviceChange,
  DeviceOperation,
  DeviceOperationResult,
  TerminationReport,
} from './device-operation-types.ts';
import { applyToDevice, type CommittedOperation, findOperationProblem } from './device-status-changes.ts';
import type { Listeners } from './listeners.ts';
import type { Actor, Revocation } from './registry.ts';
import type { TerminationLatency } from './termination-latency.ts';

/** Devices per transaction: a commit is one fsync, and a hundred devices are some ten milliseconds of statements. */
const DEVICES_PER_TRANSACTION = 100;

export interface OperationListeners {
  readonly revocations: Listeners<Revocation, TerminationReport>;
  readonly changes: Listeners<DeviceChange, TerminationReport>;
  readonly propagation: TerminationLatency;
}

/**
 * Throws the Problem of `obstacle()` before anything is done. When the storage fails half-way, what was committed stays
 * committed and was told; the same order again does the rest. Problem `internal` when a listener failed.
 */
export async function applyDeviceOperation(
  database: RegistryDatabase,
  audience: OperationListeners,
  ids: readonly DeviceId[],
  order: DeviceOperation,
  actor: Actor,
): Promise<readonly DeviceOperationResult[]> {
  const sorted = [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1));
  const problem = database.read((tx) => findOperationProblem(tx, sorted, order));
  if (problem !== undefined) throw problem;
  const telling: Promise<DeviceOperationResult>[] = [];
  try {
    for (let from = 0; from < sorted.length; from += DEVICES_PER_TRANSACTION) {
      if (from > 0) await nextTurn();
      const some = sorted.slice(from, from + DEVICES_PER_TRANSACTION);
      const committed = database.write((tx) => some.map((id) => applyToDevice(tx, id, order, actor)));
      const at = performance.now();
      telling.push(...committed.map((one) => notifyListeners(audience, one, at)));
    }
  } finally {
    await Promise.allSettled(telling);
  }
  return Promise.all(telling);
}

/** What is final is told as a revocation, the rest as a change. */
export async function notifyListeners(
  audience: OperationListeners,
  { change, revocation }: CommittedOperation,
  committedAt: number,
): Promise<DeviceOperationResult> {
  const confirmations =
    revocation === undefined
      ? await audience.changes.notify([change])
      : await audience.revocations.notify([revocation]);
  const propagationMs = performance.now() - committedAt;
  const widens = change.act === 'resume' || change.act === 'set';
  if (!widens) audience.propagation.add(propagationMs);
  const { serials = [], reason } = revocation ?? {};
  return { ...change, serials, reason, ...sumReports(confirmations), propagationMs };
}

/** What all brokers said together. */
export function sumReports(confirmations: readonly TerminationReport[]) {
  const times = confirmations.flatMap(({ lastMessageAt }) => (lastMessageAt === undefined ? [] : [lastMessageAt]));
  return {
    sessionsClosed: confirmations.reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0),
    lastMessageAt: times.length === 0 ? undefined : Math.max(...times),
    brokersConfirmed: confirmations.length,
  };
}
