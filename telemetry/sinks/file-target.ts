/**
 * A target that is a file: one message a line, synced before it is acknowledged, followed by a numbered file when it is full.
 * After a crash, messages that the file holds are not written again, and an incomplete last line is truncated. Before each batch, and from time
 * to time without one, it checks that the file at its path is still the one that it writes; `takeNotice()` returns what it found.
 */

import { closeSync, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseDecimal } from '@rollcall/protocol';
import { Cursor } from '../cursor.ts';
import { positionNumber } from '../position.ts';
import { toJsonLine } from './message-json.ts';
import type { SinkMessage } from './target.ts';
import { type RefusedMessage, type Target, TargetDown, type TargetNotice } from './target.ts';

export interface FileTargetOptions {
  readonly path: string;
  /** A file that has grown so large is followed by another one. */
  readonly rotateBytes: number;
  /** Number of full files beside it: `path.1` is the newest. */
  readonly keep: number;
}

const TAIL_READ = 65_536;
const LINE_BEGIN = 40;
const POSITION = /^\{"position":(\d{1,16}),/;

export class FileTarget implements Target {
  readonly #options: FileTargetOptions;
  #handle: FileHandle | undefined;
  #size = 0;
  /** A write failed: bytes after `#size` are incomplete. */
  #isTorn = false;
  /** Positions of the first and the last line of the file; 0 without one. */
  #first = 0;
  #last = 0;
  /** Up to the last line that was in the file when it was opened; nothing up to there is written once more. */
  #heldUpTo = Cursor.BEGIN;
  #isFirst = true;
  #notice: TargetNotice | undefined;
  /** One check or delivery at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: FileTargetOptions) {
    this.#options = options;
  }

  deliver(messages: readonly SinkMessage[]): Promise<readonly RefusedMessage[]> {
    return this.#inTurn(() => this.#deliver(messages));
  }

  /** A file that is gone is noticed without a message for it. */
  check(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#handle !== undefined) await this.#checked();
    });
  }

  takeNotice(): TargetNotice | undefined {
    const notice = this.#notice;
    this.#notice = undefined;
    return notice;
  }

  replaying(): void {
    this.#isFirst = false;
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#close());
  }

  async #deliver(messages: readonly SinkMessage[]): Promise<readonly RefusedMessage[]> {
    try {
      let handle = await this.#checked();
      if (this.#size >= this.#options.rotateBytes) handle = await this.#rotate();
      const first = messages[0] as SinkMessage;
      // After a crash what is forwarded again begins within what the file holds; after a replay it begins long before.
      const held = this.#isFirst && this.#heldUpTo.has(first.position) ? this.#heldUpTo : Cursor.BEGIN;
      const wanted = messages.filter(({ position }) => !held.has(position));
      if (!this.#heldUpTo.has((messages.at(-1) as SinkMessage).position)) this.#isFirst = false;
      if (wanted.length === 0) return [];
      const bytes = Buffer.from(wanted.map((message) => `${toJsonLine(message)}\n`).join(''));
      await this.#append(handle, bytes);
      // Deleted while it was written: the batch goes into the next file as well.
      if ((await handle.stat()).nlink === 0) await this.#append(await this.#checked(), bytes);
      if (this.#first === 0) this.#first = positionNumber((wanted[0] as SinkMessage).position);
      this.#last = positionNumber((wanted.at(-1) as SinkMessage).position);
      // The batch is safe; a file that can't be followed by another one now is at the next delivery.
      if (this.#size >= this.#options.rotateBytes) await this.#rotate().catch(() => {});
      return [];
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new TargetDown(`${this.#options.path}: ${code ?? message}`, { cause: error });
    }
  }

  async #append(handle: FileHandle, bytes: Buffer): Promise<void> {
    this.#isTorn = true;
    const { bytesWritten } = await handle.write(bytes, 0, bytes.length);
    if (bytesWritten < bytes.length) throw new Error(`expected to write ${bytes.length} bytes, wrote ${bytesWritten}`);
    await handle.datasync();
    this.#isTorn = false;
    this.#size += bytes.length;
  }

  /** The file at the path, opened anew when it is another one than before. */
  async #checked(): Promise<FileHandle> {
    const { path } = this.#options;
    const handle = this.#handle;
    if (handle === undefined) return this.#opened();
    const [ours, there] = await Promise.all([
      handle.stat({ bigint: true }),
      stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
        return undefined;
      }),
    ]);
    const size = Number(ours.size);
    if (there === undefined || there.ino !== ours.ino || there.dev !== ours.dev) {
      this.#notice = this.#goneNotice(ours.nlink === 0n);
      await this.#close();
      return this.#opened();
    }
    if (size < this.#size) {
      this.#notice = {
        isLoss: true,
        text: `${path} was cut from ${this.#size} to ${size} bytes by another program: of ${this.#positions} what was not copied before is lost; a replay from ${this.#first} writes it again`,
      };
      await this.#close();
      return this.#opened();
    }
    if (size > this.#size && this.#isTorn) await handle.truncate(this.#size);
    else this.#size = size; // another program may have added lines
    this.#isTorn = false;
    return handle;
  }

  #goneNotice(isDeleted: boolean): TargetNotice {
    const { path } = this.#options;
    if (!isDeleted) {
      return { isLoss: false, text: `${path} was moved: nothing was lost, the moved file holds ${this.#positions}` };
    }
    if (this.#last === 0) return { isLoss: false, text: `${path} was deleted: nothing was lost, it held no message` };
    return {
      isLoss: true,
      text: `${path} was deleted: ${this.#positions} that it held are lost there; a replay from ${this.#first} writes them again`,
    };
  }

  get #positions(): string {
    return this.#last === 0 ? 'no message' : `the messages from position ${this.#first} to ${this.#last}`;
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  async #opened(): Promise<FileHandle> {
    const { path } = this.#options;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const tail = cutTornLine(path);
    // The last thing before a crash may have been to begin a new file.
    const held = tail.size > 0 || !existsSync(`${path}.1`) ? tail : cutTornLine(`${path}.1`);
    if (this.#isFirst) this.#heldUpTo = Cursor.of([held.lastPosition]);
    this.#handle = await open(path, 'a', 0o600);
    this.#size = tail.size;
    this.#first = tail.firstPosition;
    this.#last = tail.lastPosition;
    this.#isTorn = false;
    return this.#handle;
  }

  async #rotate(): Promise<FileHandle> {
    const { path, keep } = this.#options;
    await this.#close();
    if (keep === 0) {
      await rm(path, { force: true });
    } else {
      for (let number = keep - 1; number >= 1; number -= 1) {
        await rename(`${path}.${number}`, `${path}.${number + 1}`).catch(expectMissing);
      }
      await rename(path, `${path}.1`);
    }
    return this.#opened();
  }

  #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }
}

interface Held {
  readonly size: number;
  readonly firstPosition: number;
  readonly lastPosition: number;
}

/** Creates the file if there is none. Returns its size without a torn last line, and the positions of its first and last whole ones. */
function cutTornLine(path: string): Held {
  const descriptor = openSync(path, 'a+', 0o600);
  try {
    const { size } = fstatSync(descriptor);
    const begin = Buffer.alloc(LINE_BEGIN);
    readSync(descriptor, begin, 0, begin.length, 0);
    // Lines may be longer than one read: read further back until there are two line feeds, or the beginning.
    for (let length = TAIL_READ; ; length *= 2) {
      const start = Math.max(0, size - length);
      const tail = Buffer.alloc(size - start);
      readSync(descriptor, tail, 0, tail.length, start);
      const end = tail.lastIndexOf(0x0a);
      const before = end <= 0 ? -1 : tail.lastIndexOf(0x0a, end - 1);
      if (start > 0 && (end < 0 || before < 0)) continue;
      const whole = start + end + 1;
      if (whole < size) ftruncateSync(descriptor, whole);
      const lastPosition = positionIn(tail.subarray(before + 1, before + 1 + LINE_BEGIN));
      return { size: whole, firstPosition: whole === 0 ? 0 : positionIn(begin), lastPosition };
    }
  } finally {
    closeSync(descriptor);
  }
}

/** 0 for a line that is none of ours. */
function positionIn(line: Buffer): number {
  return parseDecimal(POSITION.exec(line.toString('latin1'))?.[1], 0) ?? 0;
}

function expectMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
