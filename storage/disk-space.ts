/**
 * Looks how much room the journal's disk has left. Storing stops while there is less than a floor, so that others on the same
 * disk can still write: a revocation is a few bytes, and must never wait for telemetry. Does not stop anything itself.
 */

import { statfs } from 'node:fs/promises';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';

/** Of a disk that is small, the floor is at most this part. */
const MOST_OF_DISK = 10;

/** Storing goes on when there is so much more than the floor: a disk at its edge would turn it on and off. */
const ENOUGH = 1.05;

const LOOK_EVERY_MS = 1000;

export interface DiskSpace {
  /** Bytes that this user may still write. */
  readonly free: number;
  /** Bytes of the whole disk. */
  readonly size: number;
}

export interface DiskSpaceOptions {
  /** Bytes; 0 looks at nothing. */
  readonly floor: number;
  readonly log: Logger;
  readonly checkEvery?: number;
  spaceOf?(): Promise<DiskSpace>;
}

export class DiskSpaceMonitor {
  readonly #options: DiskSpaceOptions;
  readonly #spaceOf: () => Promise<DiskSpace>;
  readonly #timer: NodeJS.Timeout | undefined;
  #free: number | undefined;
  #floor = 0;
  #isLow = false;

  constructor(directory: string, options: DiskSpaceOptions) {
    this.#options = options;
    this.#spaceOf = options.spaceOf ?? (() => diskSpaceIn(directory));
    if (options.floor === 0) return;
    this.#timer = setInterval(() => void this.check(), options.checkEvery ?? LOOK_EVERY_MS).unref();
  }

  get isLow(): boolean {
    return this.#isLow;
  }

  /** As of the latest look; undefined when nobody looks. */
  get free(): number | undefined {
    return this.#free;
  }

  /** Bytes below which nothing is stored, of this disk; 0 when nobody looks. */
  get floor(): number {
    return this.#floor;
  }

  /** Throws Problem `unavailable` while there is less room than the floor. */
  expectSpace(): void {
    if (!this.#isLow) return;
    throw new Problem('unavailable', {
      reason: `expected ${this.#floor} bytes free on the disk, found ${this.#free}`,
    });
  }

  async check(): Promise<void> {
    const { floor, log } = this.#options;
    if (floor === 0) return;
    const room = await this.#spaceOf().catch((error: unknown) => {
      log.error({ err: error }, 'nobody knows how full the disk is');
    });
    if (!room) return;
    this.#free = room.free;
    this.#floor = Math.min(floor, Math.floor(room.size / MOST_OF_DISK));
    const isLow = room.free < this.#floor * (this.#isLow ? ENOUGH : 1);
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    const fields = { free: room.free, floor: this.#floor };
    if (isLow) log.error(fields, 'the disk is nearly full: no telemetry is stored until there is room');
    else log.info(fields, 'the disk has room again');
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

export async function diskSpaceIn(directory: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { free: bavail * bsize, size: blocks * bsize };
}
