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

export interface Room {
  /** Bytes that this user may still write. */
  readonly free: number;
  /** Bytes of the whole disk. */
  readonly size: number;
}

export interface DiskGuardOptions {
  /** Bytes; 0 looks at nothing. */
  readonly floor: number;
  readonly log: Logger;
  readonly lookEvery?: number;
  roomOf?(): Promise<Room>;
}

export class DiskGuard {
  readonly #options: DiskGuardOptions;
  readonly #roomOf: () => Promise<Room>;
  readonly #timer: NodeJS.Timeout | undefined;
  #free: number | undefined;
  #floor = 0;
  #isLow = false;

  constructor(directory: string, options: DiskGuardOptions) {
    this.#options = options;
    this.#roomOf = options.roomOf ?? (() => roomIn(directory));
    if (options.floor === 0) return;
    this.#timer = setInterval(() => void this.look(), options.lookEvery ?? LOOK_EVERY_MS).unref();
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
  expectRoom(): void {
    if (!this.#isLow) return;
    throw new Problem('unavailable', {
      reason: `expected ${this.#floor} bytes free on the disk, found ${this.#free}`,
    });
  }

  async look(): Promise<void> {
    const { floor, log } = this.#options;
    if (floor === 0) return;
    const room = await this.#roomOf().catch((error: unknown) => {
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

export async function roomIn(directory: string): Promise<Room> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { free: bavail * bsize, size: blocks * bsize };
}
