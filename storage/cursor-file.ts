/**
 * A position that survives: where somebody who reads a journal was. One small file, replaced as a whole, so that a crash
 * leaves the one before or the one after. Does not know what the position means.
 */

import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Problem, parseDecimal } from '@rollcall/protocol';

export class CursorFile {
  readonly #file: string;
  #saving: Promise<void> = Promise.resolve();

  constructor(file: string) {
    this.#file = file;
  }

  /** Undefined when there is none yet. Throws Problem `data_directory_unusable` for one that can't be read. */
  read(): number | undefined {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw this.#unusable((error as NodeJS.ErrnoException).code ?? 'unreadable', error);
    }
    const position = text.endsWith('\n') ? parseDecimal(text.slice(0, -1), 0) : undefined;
    if (position !== undefined) return position;
    throw this.#unusable(`expected a position, found ${text.length} other characters`);
  }

  /** Resolves when it is on disk. Saves of one file happen one after the other. */
  save(position: number): Promise<void> {
    const saved = this.#saving.then(() => this.#replace(position));
    this.#saving = saved.catch(() => {});
    return saved;
  }

  /** The same before the program goes on; makes the directory if there is none. */
  saveSync(position: number): void {
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    const draft = `${this.#file}.new`;
    const descriptor = openSync(draft, 'w', 0o600);
    try {
      writeFileSync(descriptor, `${position}\n`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(draft, this.#file);
  }

  // A rename that a power cut takes back leaves the position before: whoever reads on from there repeats, and loses nothing.
  async #replace(position: number): Promise<void> {
    const draft = `${this.#file}.new`;
    const handle = await open(draft, 'w', 0o600);
    try {
      await handle.writeFile(`${position}\n`);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(draft, this.#file);
  }

  #unusable(reason: string, cause?: unknown): Problem {
    return new Problem('data_directory_unusable', {
      reason: `${this.#file}: ${reason}`,
      hint: 'remove the file to begin where its journal ends now',
      cause,
    });
  }
}
