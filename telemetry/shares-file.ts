/**
 * What devices and groups stored today, in a file beside the journal, so that a restart does not reset their shares. Written
 * whole and renamed. A file that can't be read counts as missing: shares are then counted from the restart.
 */

import { readFileSync, statSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { ShareUsage } from './share-ledger.ts';
import type { SavedShares } from './storage-shares.ts';

const LARGEST_BYTES = 1_048_576;

export class SharesFile {
  readonly #path: string;
  readonly #log: Logger;
  #hasFailed = false;

  constructor(directory: string, log: Logger) {
    this.#path = join(directory, 'shares.json');
    this.#log = log;
  }

  read(): SavedShares | undefined {
    try {
      if (statSync(this.#path).size > LARGEST_BYTES) throw new Error(`expected at most ${LARGEST_BYTES} bytes`);
      const found = JSON.parse(readFileSync(this.#path, 'utf8')) as Partial<Record<keyof SavedShares, unknown>>;
      if (!Number.isSafeInteger(found.day) || !areShares(found.devices) || !areShares(found.groups)) {
        throw new Error('expected a day, devices and groups');
      }
      return { day: found.day as number, devices: found.devices, groups: found.groups };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#log.warn({ err: error }, 'the shares of today could not be read; they are counted from now on');
      }
      return undefined;
    }
  }

  /** A full disk is logged once. The shares in memory stay valid until the next restart. */
  async write(saved: SavedShares): Promise<void> {
    try {
      await writeFile(`${this.#path}.new`, JSON.stringify(saved), { mode: 0o600 });
      await rename(`${this.#path}.new`, this.#path);
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) this.#log.warn({ err: error }, 'the shares of today were not saved');
      this.#hasFailed = true;
    }
  }
}

function areShares(value: unknown): value is readonly ShareUsage[] {
  return (
    Array.isArray(value) &&
    value.every(({ name, bytes }: Partial<ShareUsage>) => typeof name === 'string' && Number.isFinite(bytes))
  );
}
