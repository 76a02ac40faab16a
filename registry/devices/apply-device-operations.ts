/**
 * Applies an operation to devices: commits a few devices per transaction, so that other writers do not wait, and notifies
 * the listeners of each device as soon as it is committed.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners, Notified } from '../listeners.ts';
import { countConfirmed, mergeOutcomes } from '../node-outcome.ts';
import type { Actor, Revocation } from '../registry.ts';
import type { Transaction } from '../transaction.ts';
import type {
  DeviceChange,
  DeviceOperation,
  DeviceOperationResult,
  LastDeviceChange,
  TerminationReport,
  TerminationSummary,
} from './device-operation-types.ts';
import { applyToDevices, type CommittedOperation, findOperationProblem } from './device-status-changes.ts';

/** Devices per transaction: a commit is one fsync, and a hundred devices are some ten milliseconds of statements. */
const DEVICES_PER_TRANSACTION = 100;

export interface OperationListeners {
  readonly revocations: Listeners<Revocation, TerminationReport>;
  readonly changes: Listeners<DeviceChange, TerminationReport>;
  /** In seconds. */
  observeTermination(seconds: number): void;
}

/**
 * Throws the Problem of `obstacle()` before anything is done. When the storage fails half-way, what was committed stays
 * committed and was told; the same operation again does the rest. Problem `internal` when a listener failed.
 */
export async function applyDeviceOperation(
  database: RegistryDatabase,
  listeners: OperationListeners,
  ids: readonly DeviceId[],
  operation: DeviceOperation,
  actor: Actor,
): Promise<readonly DeviceOperationResult[]> {
  const sorted = [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1));
  const problem = await database.read((tx) => findOperationProblem(tx, sorted, operation));
  if (problem !== undefined) throw problem;
  const notified: Promise<DeviceOperationResult>[] = [];
  try {
    for (let from = 0; from < sorted.length; from += DEVICES_PER_TRANSACTION) {
      if (from > 0) await nextTurn();
      const some = sorted.slice(from, from + DEVICES_PER_TRANSACTION);
      const committed = await database.write(function* (tx) {
        yield* tx.lock(
          'holder',
          some.map((id) => `device/${id}`),
        );
        const applied = yield* applyToDevices(tx, some, operation, actor);
        for (const one of applied) publishOperation(tx, listeners, one);
        return applied;
      });
      const at = performance.now();
      notified.push(...committed.map((one) => notifyListeners(listeners, one, at)));
    }
  } finally {
    await Promise.allSettled(notified);
  }
  return Promise.all(notified);
}

export function publishOperation(
  tx: Transaction,
  listeners: OperationListeners,
  { change, revocation }: CommittedOperation,
): void {
  if (revocation === undefined) listeners.changes.publish(tx, change);
  else listeners.revocations.publish(tx, revocation);
}

/** Notifies revocation listeners of revocations and deletions, and change listeners of every other operation. */
export async function notifyListeners(
  listeners: OperationListeners,
  { change, revocation }: CommittedOperation,
  committedAt: number,
): Promise<DeviceOperationResult> {
  const notified =
    revocation === undefined
      ? await listeners.changes.notify([change])
      : await listeners.revocations.notify([revocation]);
  const propagationMs = performance.now() - committedAt;
  const isRestriction = change.operation !== 'resume' && change.operation !== 'set';
  if (isRestriction) listeners.observeTermination(propagationMs / 1_000);
  const { serials = [], reason } = revocation ?? {};
  return { ...change, serials, reason, ...summaryOf(notified), propagationMs };
}

export function summaryOf({ results, nodes: known }: Notified<TerminationReport>): TerminationSummary {
  const times = results.flatMap(({ lastMessageAt }) => lastMessageAt ?? []);
  const nodes = known.length > 0 ? known : mergeOutcomes(results.map((report) => report.nodes ?? []));
  return {
    sessionsClosed: results.reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0),
    lastMessageAt: times.length === 0 ? undefined : Math.max(...times),
    brokersConfirmed: nodes.length > 0 ? countConfirmed(nodes) : results.length,
    nodes,
  };
}

/** As `DeviceOperations.lastDeviceChange`. */
export async function lastDeviceChange(
  { otherNodes }: RegistryDatabase,
  id: DeviceId,
): Promise<LastDeviceChange | undefined> {
  const found = await otherNodes?.lastChangeOf(`device/${id}`);
  if (found === undefined) return undefined;
  const { kind, change, at, nodes } = found;
  switch (kind) {
    case 'device change':
      return { operation: (change as DeviceChange).operation, at, nodes };
    case 'revocation of a certificate':
      return { operation: 'revoke a certificate', at, nodes };
    default:
      return { operation: 'revoke', at, nodes };
  }
}
