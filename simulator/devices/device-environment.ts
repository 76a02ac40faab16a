/**
 * What an SDK device needs beside the servers: a store or a directory for its identity and its queue, and a proxy where an
 * incident may cut its network. A device that no incident affects has its store in memory and no proxy.
 */

import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type IdentityStore, memoryIdentityStore } from '@rollcall/device-sdk';
import { DeviceProxy } from '../faults/device-proxy.ts';
import type { GroupContext } from './shard-context.ts';

/** As options of the SDK. */
type Place =
  | { readonly store: IdentityStore; readonly queue: 'memory' }
  | { readonly dataDir: string; readonly queue: Record<never, never> };

export class DeviceEnvironment {
  readonly #disk: Disk | undefined;
  readonly #store = memoryIdentityStore();
  readonly proxy: DeviceProxy | undefined;

  private constructor(disk: Disk | undefined, line: DeviceProxy | undefined) {
    this.#disk = disk;
    this.proxy = line;
  }

  static async create({ faults, target }: GroupContext): Promise<DeviceEnvironment> {
    return new DeviceEnvironment(
      faults.includes('power') ? new Disk() : undefined,
      faults.length > 0 ? await DeviceProxy.open(target) : undefined,
    );
  }

  get sdkOptions(): Place {
    const { path } = this.#disk ?? {};
    return path === undefined ? { store: this.#store, queue: 'memory' } : { dataDir: path, queue: {} };
  }

  /** Keeps its messages when the power is gone. */
  get hasDisk(): boolean {
    return this.#disk !== undefined;
  }

  /**
   * The power is gone: the disk is what it is at this moment, and nobody is told anything any more. What the running
   * instance still does, it does to a disk and a line that lead nowhere.
   */
  losePower(): void {
    this.#disk?.change();
    this.proxy?.reset();
  }

  /** When no instance runs any more. */
  remove(): void {
    this.proxy?.close();
    this.#disk?.remove();
  }
}

class Disk {
  readonly #root = mkdtempSync(join(tmpdir(), 'rollcall-gateway-'));
  #turns = 0;

  get path(): string {
    return join(this.#root, `disk-${this.#turns}`);
  }

  /** The next instance finds a copy: a process that was killed writes nothing more, one that lives on in this one might. */
  change(): void {
    const before = this.path;
    this.#turns += 1;
    cpSync(before, this.path, { recursive: true });
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }
}
