/**
 * Removes messages that are past retention: when the journal is opened, every hour, and, where its bytes are bounded, whenever half
 * a segment was stored. One pruning after the other.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Pruning } from '../storage/index.ts';
import type { Retention, SegmentStats } from './telemetry.ts';

const PRUNE_EVERY_MS = 3_600_000;

/** Where bytes are bounded no segment is larger than this part of the bound, so that what goes is never nearly all. */
const SEGMENTS_IN_BOUND = 8;

const LARGEST_SEGMENT = 4 * 1024 ** 3;

export interface ScheduledRetentionOptions {
  readonly retention: Retention;
  readonly pruning: Pick<Pruning, 'prune'>;
  readonly log: Logger;
  /** Awaited before anything is removed; while it fails nothing is. */
  beforePruning?(): Promise<void>;
  /** Messages were removed, on demand or by schedule. */
  removed(): Promise<void>;
  /** The schedule removed these. */
  removedInTime?(segments: readonly SegmentStats[]): Promise<void>;
}

export class ScheduledRetention {
  readonly #options: ScheduledRetentionOptions;
  #timer: NodeJS.Timeout | undefined;
  #bytesSincePruning = 0;

  constructor(options: ScheduledRetentionOptions) {
    this.#options = options;
  }

  /** Prunes now and every hour, where anything is bounded. */
  start(): void {
    const { age, bytes, groups = {} } = this.#options.retention;
    if (![age, bytes, ...Object.values(groups)].some((bound) => bound > 0)) return;
    void this.#pruneInTime();
    this.#timer = setInterval(() => void this.#pruneInTime(), PRUNE_EVERY_MS).unref();
  }

  /** Returns what was removed. Throws Problem `request_invalid` for a negative bound. */
  async prune({ age, bytes, groups = {} }: Retention = this.#options.retention): Promise<readonly SegmentStats[]> {
    if (!(age >= 0) || !(bytes >= 0)) {
      throw new Problem('request_invalid', { detail: 'expected an age and a number of bytes, or 0 for no bound' });
    }
    const { pruning, beforePruning, removed } = this.#options;
    await beforePruning?.();
    const rules = Object.entries(groups).map(([name, of]) => ({ name, age: of }));
    const segments = await pruning.prune({ age, bytes, groups: rules });
    if (segments.length > 0) await removed();
    return segments;
  }

  stored(messages: readonly { readonly payload: Uint8Array }[]): void {
    if (this.#options.retention.bytes === 0) return;
    let stored = 0;
    for (const { payload } of messages) stored += payload.byteLength;
    this.storedBytes(stored);
  }

  /** Payload that was stored. */
  storedBytes(stored: number): void {
    const { bytes } = this.#options.retention;
    if (bytes === 0) return;
    this.#bytesSincePruning += stored;
    if (this.#bytesSincePruning < bytes / SEGMENTS_IN_BOUND / 2) return;
    this.#bytesSincePruning = 0;
    void this.#pruneInTime();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #pruneInTime(): Promise<void> {
    try {
      const segments = await this.prune();
      if (segments.length > 0) await this.#options.removedInTime?.(segments);
    } catch (error) {
      this.#options.log.error({ err: error }, 'telemetry was not pruned');
    }
  }
}

/** Undefined where bytes are not bounded. */
export function segmentBytesFor({ bytes }: Retention): number | undefined {
  return bytes > 0 ? Math.min(LARGEST_SEGMENT, Math.ceil(bytes / SEGMENTS_IN_BOUND)) : undefined;
}
