/**
 * Monitors the free space of the journal's disk. Telemetry is not stored while less than a floor is free, so that the registry on the
 * same disk can still write: a revocation must never wait for telemetry.
 */

import { statfs } from 'node:fs/promises';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';

/** The floor is at most one part in so many of the disk. */
const FLOOR_DIVISOR = 10;

/** Storing resumes above the floor times this, so that it does not switch on and off at the floor. */
const RESUME_FACTOR = 1.05;

const CHECK_EVERY_MS = 1000;

export interface DiskSpace {
  /** Bytes that this user can still write. */
  readonly free: number;
  /** Bytes of the whole disk. */
  readonly size: number;
}

/** What was found at the latest check. */
export interface DiskState {
  /** There is less than the floor, and nothing is stored. */
  readonly isLow: boolean;
  /** Bytes; undefined when the monitor is disabled. */
  readonly free: number | undefined;
  readonly floor: number;
}

export interface DiskSpaceOptions {
  /** Bytes; 0 disables the monitor. */
  readonly floor: number;
  readonly log: Logger;
  readonly checkEvery?: number;
  spaceOf?(): Promise<DiskSpace>;
}

export class DiskSpaceMonitor {
  readonly #options: DiskSpaceOptions;
  readonly #spaceOf: () => Promise<DiskSpace>;
  readonly #timer: NodeJS.Timeout | undefined;
  #changed: () => void = () => {};
  #free: number | undefined;
  #floor = 0;
  #isLow = false;

  constructor(directory: string, options: DiskSpaceOptions) {
    this.#options = options;
    this.#spaceOf = options.spaceOf ?? (() => diskSpaceIn(directory));
    if (options.floor === 0) return;
    this.#timer = setInterval(() => void this.check(), options.checkEvery ?? CHECK_EVERY_MS).unref();
  }

  get isLow(): boolean {
    return this.#isLow;
  }

  /** Bytes free at the latest check; undefined when the monitor is disabled. */
  get free(): number | undefined {
    return this.#free;
  }

  /** Bytes below which nothing is stored on this disk; 0 when the monitor is disabled. */
  get floor(): number {
    return this.#floor;
  }

  get state(): DiskState {
    return { isLow: this.#isLow, free: this.#free, floor: this.#floor };
  }

  /** Calls the listener when `isLow` changed, in place of an earlier one. */
  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  /** Throws Problem `unavailable` while less than the floor is free. */
  expectSpace(): void {
    if (this.#isLow) expectDiskSpace(this.state);
  }

  async check(): Promise<void> {
    const { floor, log } = this.#options;
    if (floor === 0) return;
    const space = await this.#spaceOf().catch((error: unknown) => {
      log.error({ err: error }, 'the free disk space could not be read');
    });
    if (!space) return;
    this.#free = space.free;
    this.#floor = Math.min(floor, Math.floor(space.size / FLOOR_DIVISOR));
    const isLow = space.free < this.#floor * (this.#isLow ? RESUME_FACTOR : 1);
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    const fields = { free: space.free, floor: this.#floor };
    if (isLow) log.error(fields, 'the disk is nearly full: no telemetry is stored until there is space');
    else log.info(fields, 'the disk has space again');
    this.#changed();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** Throws Problem `unavailable` while less than the floor is free. */
export function expectDiskSpace({ isLow, free, floor }: DiskState): void {
  if (!isLow) return;
  throw new Problem('unavailable', { reason: `expected ${floor} bytes free on the disk, found ${free}` });
}

export async function diskSpaceIn(directory: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { free: bavail * bsize, size: blocks * bsize };
}
