/** The option `mqtt.workers`: how many threads serve MQTT. */

import { availableParallelism } from 'node:os';
import { Problem } from '@rollcall/protocol';
import { z } from 'zod';
import { runtime } from '../runtime.ts';

/** More threads than this share one keeper, which they then wait for. */
const AUTOMATIC_MAX = 8;
const WORKERS_MAX = 64;

/** Packets of the largest size that a node can queue before it stops to read. */
const QUEUED_PACKETS = 2;

/** Threads listen on one port by SO_REUSEPORT, which Linux spreads connections over. Bun's threads cannot. */
export function canShareListener(platform: string = process.platform, name: string = runtime.name): boolean {
  return platform === 'linux' && name === 'node';
}

/** Of this machine. */
export function automaticWorkers(): number {
  return canShareListener() ? Math.min(AUTOMATIC_MAX, availableParallelism()) : 1;
}

/** `auto` is read as the number for this machine. */
export const workersSchema = z
  .union([z.literal('auto'), z.int().min(1).max(WORKERS_MAX)], { error: `expected auto, or 1 to ${WORKERS_MAX}` })
  .transform((workers) => (workers === 'auto' ? automaticWorkers() : workers));

/**
 * Nodes and the main thread divide `telemetry.queuedBytes`. Throws Problem `config_invalid` when a part has too little room for packets of
 * the largest size, which would never be stored.
 */
export function expectQueueForWorkers(workers: number, queuedBytes: number, packet: number): void {
  const least = (workers + 1) * QUEUED_PACKETS * packet;
  if (queuedBytes >= least) return;
  throw new Problem('config_invalid', {
    reason: `telemetry.queuedBytes: expected at least ${least} bytes for ${workers} workers and packets of ${packet}, found ${queuedBytes}`,
  });
}
