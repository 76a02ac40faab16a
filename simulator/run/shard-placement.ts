/** Where the shards of a run are placed: in threads of this process, or on hosts that joined. */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { FromShard, ToShard } from '../devices/shard-messages.ts';
import { machineCapacity, shortfall } from './capacity.ts';
import type { HostOfRun } from './result.ts';
import { RunRefused } from './run-options.ts';

export interface ShardEvents {
  message(message: FromShard): void;
  /** The shard sends nothing more. */
  lost(error: Error): void;
}

export interface ShardPort {
  post(message: ToShard): void;
  close(): Promise<void>;
}

export interface FleetSize {
  readonly devices: number;
  /** Of them, those behind the inner proxy. */
  readonly behindProxy: number;
}

export interface ShardPlacement {
  /** How many shards the devices are dealt out to. */
  readonly shards: number;
  /** Local addresses that devices connect from. Hosts that joined use their own. */
  readonly sourceAddresses: readonly string[];
  /** Between a message to a shard and its arrival, at most; milliseconds. */
  readonly startDelay: number;
  /** By how much the clock of a shard is ahead of ours, milliseconds. */
  clockOffset(shard: number): number;
  open(shard: number, events: ShardEvents): ShardPort;
  /** Resident memory of the processes with devices, in bytes. */
  memory(): number;
  /** Hosts that joined; empty for threads. */
  hosts(): readonly HostOfRun[];
}

/** Places a fleet of this size; throws {@link RunRefused} where it doesn't fit. */
export type PlacementStrategy = (fleet: FleetSize) => ShardPlacement;

/** A thread is worth its memory from so many devices on. */
const DEVICES_WORTH_A_THREAD = 50;

/** How many threads so many devices use, of those there are. */
export function threadsFor(devices: number, most: number): number {
  return Math.max(1, Math.min(most, Math.ceil(devices / DEVICES_WORTH_A_THREAD)));
}

export function localThreads(
  options: { readonly workers?: number | undefined; readonly sourceAddresses?: readonly string[] } = {},
): PlacementStrategy {
  const { workers, sourceAddresses = [] } = options;
  return (fleet) => {
    const missing = shortfall({ ...fleet, sourceAddresses: sourceAddresses.length }, machineCapacity());
    if (missing !== undefined) throw new RunRefused(missing);
    return {
      shards: workers ?? threadsFor(fleet.devices, availableParallelism()),
      sourceAddresses,
      startDelay: 0,
      clockOffset: () => 0,
      open: (_, events) => openThread(events),
      memory: () => process.memoryUsage.rss(),
      hosts: () => [],
    };
  };
}

/** A shard in a thread of this process. */
export function openThread(events: ShardEvents): ShardPort {
  const worker = new Worker(new URL('../devices/shard-worker.ts', import.meta.url));
  worker.on('message', (message: FromShard) => events.message(message));
  worker.once('error', (error: Error) => events.lost(error));
  return {
    post: (message) => worker.postMessage(message),
    close: async () => {
      await worker.terminate();
    },
  };
}
