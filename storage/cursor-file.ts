/**
 * The position up to which a reader has read a journal, durable in one small file. The file is replaced as a whole, so that a crash
 * leaves the previous position or the new one.
 */

import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Problem, parseDecimal } from '@rollcall/protocol';

/** What a cursor file holds: a number, or any value whose text its reader can parse. */
interface Text {
  toString(): string;
}

export class CursorFile<Value extends Text = number> {
  readonly #file: string;
  readonly #parse: (text: string) => Value | undefined;
  #saving: Promise<void> = Promise.resolve();
  #hasDirectory = false;

  /** `parse` returns undefined for text that is no cursor. */
  constructor(file: string, parse: (text: string) => Value | undefined) {
    this.#file = file;
    this.#parse = parse;
  }

  /** Of decimal numbers. */
  static ofNumbers(file: string): CursorFile {
    return new CursorFile(file, (text) => parseDecimal(text, 0));
  }

  /** Undefined when the file does not exist. Throws Problem `data_directory_unusable` for a file that can't be read. */
  read(): Value | undefined {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw this.#unusable((error as NodeJS.ErrnoException).code ?? 'unreadable', error);
    }
    const position = text.endsWith('\n') ? this.#parse(text.slice(0, -1)) : undefined;
    if (position !== undefined) return position;
    throw this.#unusable(`expected a position, found ${text.length} other characters`);
  }

  /** Resolves when the position is on disk. Saves are done one after the other. Creates the directory if there is none. */
  save(position: Value): Promise<void> {
    const saved = this.#saving.then(() => this.#replace(position));
    this.#saving = saved.catch(() => {});
    return saved;
  }

  /** Saves synchronously. Creates the directory if there is none. */
  saveSync(position: Value): void {
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

  // A power cut may undo the rename. Then the reader repeats messages and loses none.
  async #replace(position: Value): Promise<void> {
    if (!this.#hasDirectory) await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 });
    this.#hasDirectory = true;
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
