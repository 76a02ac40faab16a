/**
 * A directory in memory whose power can be cut at any single step. What was not synced by then is kept, kept in part,
 * or replaced by zeros, as file systems do.
 */

import type { JournalFile, JournalFiles } from '../../device-sdk/journal-files.ts';

interface Content {
  bytes: Buffer;
  /** So many of the first bytes survive for certain. */
  synced: number;
}

class PowerCut extends Error {}

export class PowerCutFiles implements JournalFiles {
  readonly #contents = new Map<string, Content>();
  readonly #random: () => number;
  /** The step that is not finished, counted from 1; 0: power never fails. */
  readonly #cutAt: number;
  #steps = 0;

  constructor(random: () => number, cutAt = 0) {
    this.#random = random;
    this.#cutAt = cutAt;
  }

  /** Appends, syncs, creations and removals so far. */
  get steps(): number {
    return this.#steps;
  }

  get isDark(): boolean {
    return this.#cutAt > 0 && this.#steps >= this.#cutAt;
  }

  /** What is found when the power is back. `keepsCache`: only the process died, the system lived on. */
  reborn(cutAt: number, keepsCache: 'keeps cache' | 'loses cache'): PowerCutFiles {
    const next = new PowerCutFiles(this.#random, cutAt);
    for (const [name, { bytes, synced }] of this.#contents) {
      let kept = bytes;
      if (keepsCache === 'loses cache') {
        kept = Buffer.from(bytes.subarray(0, synced + Math.floor(this.#random() * (bytes.length - synced + 1))));
        // Length and data of a file reach the disk separately.
        if (kept.length > synced && this.#random() < 0.3) kept.fill(0, synced + Math.floor(this.#random() * 8));
      }
      next.#contents.set(name, { bytes: kept, synced: kept.length });
    }
    return next;
  }

  /** For damage by hand. */
  content(name: string): Buffer {
    return this.#content(name).bytes;
  }

  replace(name: string, bytes: Buffer): void {
    this.#contents.set(name, { bytes, synced: bytes.length });
  }

  list(): readonly string[] {
    return [...this.#contents.keys()];
  }

  read(name: string): Buffer {
    return Buffer.from(this.#content(name).bytes);
  }

  readAt(name: string, at: number, length: number): Buffer {
    return Buffer.from(this.#content(name).bytes.subarray(at, at + length));
  }

  async create(name: string): Promise<JournalFile> {
    await this.#step(() => {
      if (this.#random() < 0.5) this.#contents.set(name, { bytes: Buffer.alloc(0), synced: 0 });
    });
    if (this.#contents.has(name)) throw new Error('expected no file of this name');
    const content: Content = { bytes: Buffer.alloc(0), synced: 0 };
    this.#contents.set(name, content);
    return {
      append: async (bytes) => {
        const written = Buffer.from(bytes);
        await this.#step(() => {
          const part = written.subarray(0, Math.floor(this.#random() * written.length));
          content.bytes = Buffer.concat([content.bytes, part]);
        });
        content.bytes = Buffer.concat([content.bytes, written]);
      },
      sync: async () => {
        const length = content.bytes.length;
        await this.#step(() => {
          if (this.#random() < 0.5) content.synced = length;
        });
        content.synced = length;
      },
      close: async () => {},
    };
  }

  async remove(name: string): Promise<void> {
    await this.#step(() => {
      if (this.#random() < 0.5) this.#contents.delete(name);
    });
    this.#contents.delete(name);
  }

  /** `half` is what happens of the step in which the power fails. */
  async #step(half: () => void): Promise<void> {
    if (this.isDark) throw new PowerCut();
    this.#steps += 1;
    if (this.isDark) {
      half();
      throw new PowerCut();
    }
    await undefined;
  }

  #content(name: string): Content {
    const content = this.#contents.get(name);
    if (content === undefined) throw new Error('expected a file of this name');
    return content;
  }
}
