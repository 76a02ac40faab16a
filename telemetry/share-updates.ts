/** Keeps the shares of devices and groups current: the day, the room on the disk, and the file that a restart reads. */

import type { Logger } from 'pino';
import type { DiskSpaceMonitor } from '../storage/index.ts';
import { SharesFile } from './shares-file.ts';
import { StorageShares } from './storage-shares.ts';

/** Between two updates from the day and the disk; and updates between two saves. */
const UPDATE_EVERY_MS = 1_000;
const SAVE_EVERY_UPDATES = 30;

export interface ShareUpdatesOptions {
  readonly directory: string;
  /** In percent of `budget`; 0: no share. */
  readonly shares: { readonly device: number; readonly group: number };
  /** Bytes. */
  readonly budget: number;
  readonly disk: DiskSpaceMonitor;
  readonly now: () => number;
  readonly log: Logger;
}

export class ShareUpdates {
  readonly shares: StorageShares;
  readonly #disk: DiskSpaceMonitor;
  readonly #file: SharesFile | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> = Promise.resolve();
  #updates = 0;

  constructor({ directory, shares: { device, group }, budget, disk, now, log }: ShareUpdatesOptions) {
    const hasShares = device > 0 || group > 0;
    const limits = { device: (budget * device) / 100, group: (budget * group) / 100 };
    this.#disk = disk;
    this.#file = hasShares ? new SharesFile(directory, log) : undefined;
    this.shares = new StorageShares(limits, now, this.#file?.read());
    this.shares.listen({ changed: () => void this.#save() });
    this.#update();
    this.#timer = hasShares ? setInterval(() => this.#update(), UPDATE_EVERY_MS).unref() : undefined;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Saves what changed since the last time. */
  close(): Promise<void> {
    this.stop();
    return this.#save();
  }

  #update(): void {
    this.shares.update(this.#disk.free, this.#disk.floor);
    this.#updates += 1;
    if (this.#updates % SAVE_EVERY_UPDATES === 0) void this.#save();
  }

  #save(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return this.#saving;
    this.#saving = this.#saving.then(async () => {
      const changed = this.shares.takeChanges();
      if (changed !== undefined) await file.write(changed);
    });
    return this.#saving;
  }
}
