/**
 * A target that is a file: one message a line, synced before it counts, followed by a numbered one when it is full. What
 * the file holds already is not written again after a crash, and a line that was torn is cut off.
 */

import { closeSync, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { StoredMessage } from '../telemetry/telemetry.ts';
import { lineOf } from './json-form.ts';
import { type Refused, type Target, TargetDown } from './target.ts';

export interface FileTargetOptions {
  readonly path: string;
  /** A file that has grown so large is followed by another one. */
  readonly rotateBytes: number;
  /** How many full files are kept beside it: `path.1` is the newest. */
  readonly keep: number;
}

const TAIL_READ = 65_536;

export class FileTarget implements Target {
  readonly #options: FileTargetOptions;
  #handle: FileHandle | undefined;
  #size = 0;
  /** Position of the last line that was in the file when it was opened; nothing up to there is written once more. */
  #heldUpTo = 0;
  #isFirst = true;

  constructor(options: FileTargetOptions) {
    this.#options = options;
  }

  async deliver(messages: readonly StoredMessage[]): Promise<readonly Refused[]> {
    try {
      const handle = await this.#opened();
      const first = messages[0] as StoredMessage;
      // After a crash what is forwarded again begins within what the file holds; after a replay it begins long before.
      const held = this.#isFirst && first.position <= this.#heldUpTo ? this.#heldUpTo : 0;
      const text = messages
        .filter(({ position }) => position > held)
        .map((message) => `${lineOf(message)}\n`)
        .join('');
      if ((messages.at(-1) as StoredMessage).position > this.#heldUpTo) this.#isFirst = false;
      if (text === '') return [];
      const bytes = Buffer.from(text);
      const { bytesWritten } = await handle.write(bytes, 0, bytes.length, this.#size);
      if (bytesWritten < bytes.length)
        throw new Error(`expected to write ${bytes.length} bytes, wrote ${bytesWritten}`);
      await handle.datasync();
      this.#size += bytes.length;
      if (this.#size >= this.#options.rotateBytes) await this.#rotate();
      return [];
    } catch (error) {
      // What was half written lies behind `#size` and is written over.
      const { code, message } = error as NodeJS.ErrnoException;
      throw new TargetDown(`${this.#options.path}: ${code ?? message}`, { cause: error });
    }
  }

  replaying(): void {
    this.#isFirst = false;
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async #opened(): Promise<FileHandle> {
    if (this.#handle !== undefined) return this.#handle;
    const { path } = this.#options;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const tail = cutTornLine(path);
    this.#size = tail.size;
    // The last thing before a crash may have been to begin a new file.
    const held = tail.size > 0 || !existsSync(`${path}.1`) ? tail : cutTornLine(`${path}.1`);
    this.#heldUpTo = held.lastPosition;
    this.#handle = await open(path, 'r+');
    return this.#handle;
  }

  async #rotate(): Promise<void> {
    const { path, keep } = this.#options;
    await this.close();
    if (keep === 0) {
      await rm(path, { force: true });
    } else {
      for (let number = keep - 1; number >= 1; number -= 1) {
        await rename(`${path}.${number}`, `${path}.${number + 1}`).catch(expectMissing);
      }
      await rename(path, `${path}.1`);
    }
    const heldUpTo = this.#heldUpTo;
    await this.#opened();
    this.#heldUpTo = heldUpTo;
  }
}

/** Creates the file if there is none. Returns its size without a torn last line, and the position of its last whole one. */
function cutTornLine(path: string): { readonly size: number; readonly lastPosition: number } {
  const descriptor = openSync(path, 'a+', 0o600);
  try {
    const { size } = fstatSync(descriptor);
    // Lines may be longer than one read: look further back until there are two line feeds, or the beginning.
    for (let length = TAIL_READ; ; length *= 2) {
      const start = Math.max(0, size - length);
      const tail = Buffer.alloc(size - start);
      readSync(descriptor, tail, 0, tail.length, start);
      const end = tail.lastIndexOf(0x0a);
      const before = end <= 0 ? -1 : tail.lastIndexOf(0x0a, end - 1);
      if (start > 0 && (end < 0 || before < 0)) continue;
      const whole = start + end + 1;
      if (whole < size) ftruncateSync(descriptor, whole);
      const position = /^\{"position":(\d{1,16}),/.exec(tail.subarray(before + 1, before + 40).toString('latin1'))?.[1];
      return { size: whole, lastPosition: Number(position ?? 0) };
    }
  } finally {
    closeSync(descriptor);
  }
}

function expectMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
