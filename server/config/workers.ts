/** The option `mqtt.workers`: how many threads serve MQTT. */

import { availableParallelism } from 'node:os';
import { Problem } from '@rollcall/protocol';
import { z } from 'zod';
import { runtime, runtimeText } from '../runtime.ts';

/** More threads than this share one keeper, which they then wait for. */
const AUTOMATIC_MAX = 8;
const WORKERS_MAX = 64;
/** With fewer the main thread and as many nodes as there are cores take more CPU for the same work, and do no more of it. */
const CORES_MIN = 3;

/** Packets of the largest size that a node can queue before it stops to read. */
const QUEUED_PACKETS = 2;

/** Threads listen on one port by SO_REUSEPORT, which Linux spreads connections over. Bun's threads cannot. */
export function canShareListener(platform: string = process.platform, name: string = runtime.name): boolean {
  return platform === 'linux' && name === 'node';
}

/** `auto` is a number only when the other options are known: `workersOf`. */
export const workersSchema = z.union([z.literal('auto'), z.int().min(1).max(WORKERS_MAX)], {
  error: `expected auto, or 1 to ${WORKERS_MAX}`,
});

export interface WorkersOptions {
  readonly workers: number | 'auto';
  /** Several nodes share the store: each serves MQTT with one thread. */
  readonly isShared: boolean;
  /** Bytes: of telemetry that waits in all threads, and of the largest packet. */
  readonly queuedBytes: number;
  readonly packet: number;
}

/**
 * `auto` is one per core, and not so many that the queue of telemetry has no room for their packets. With one or two cores the main thread serves MQTT
 * by itself: what it does for nodes would take a core of theirs.
 */
export function workersOf(
  { workers, isShared, queuedBytes, packet }: WorkersOptions,
  { cores = availableParallelism(), canShare = canShareListener() } = {},
): number {
  if (workers !== 'auto') return workers;
  if (isShared || !canShare || cores < CORES_MIN) return 1;
  const queued = Math.floor(queuedBytes / (QUEUED_PACKETS * packet)) - 1;
  return Math.max(1, Math.min(AUTOMATIC_MAX, cores, queued));
}

/**
 * Before anything is opened. Throws Problem `config_invalid` where threads cannot share a port or a store, and when a part of
 * `telemetry.queuedBytes`, which nodes and the main thread divide, has too little room for packets of the largest size: they would never be stored.
 */
export function expectWorkers(
  { workers, isShared, queuedBytes, packet }: WorkersOptions & { readonly workers: number },
  canShare = canShareListener(),
): void {
  if (workers === 1) return;
  if (!canShare) {
    throw new Problem('config_invalid', {
      reason: `mqtt.workers: expected 1, because threads cannot share a port on ${process.platform} with ${runtimeText}`,
    });
  }
  if (isShared) {
    throw new Problem('config_invalid', {
      reason: 'mqtt.workers: expected 1 with a store that several nodes share',
      hint: 'start another node, on this machine or another one',
    });
  }
  const least = (workers + 1) * QUEUED_PACKETS * packet;
  if (queuedBytes >= least) return;
  throw new Problem('config_invalid', {
    reason: `telemetry.queuedBytes: expected at least ${least} bytes for ${workers} workers and packets of ${packet}, found ${queuedBytes}`,
  });
}
