/**
 * Which commands this device has begun and ended, over reboots: one line per event in an append-only file. A command
 * whose id is in it never runs again. Bounded: the oldest ids are forgotten. It runs nothing itself.
 *
 *     +r-17       begun: written and synced before the handler runs
 *     -r-17       ended: its answer is in the queue
 */

import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { DeviceError } from './device-error.ts';
import { syncDirectory, writeDurably } from './durable-file.ts';

export interface CommandLedger {
  /** Ids that an earlier run began and did not end. */
  readonly interrupted: readonly string[];
  /** True if a command of this id was begun before. */
  knows(requestId: string): boolean;
  /** Resolves when it survives a power cut; rejects with the file system's error, and the id is then not known. */
  begin(requestId: string): Promise<void>;
  end(requestId: string): void;
  close(): Promise<void>;
}

/** Ids remembered, and lines after which the file is written anew. */
const REMEMBERED_MAX = 4_096;
const LINES_MAX = 4 * REMEMBERED_MAX;
const LINE = /^([+-])([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;

class Ids {
  /** False until it ended. Oldest first. */
  readonly all = new Map<string, boolean>();

  begin(id: string): void {
    this.all.set(id, false);
    if (this.all.size > REMEMBERED_MAX) this.all.delete(this.all.keys().next().value as string);
  }

  end(id: string): void {
    if (this.all.has(id)) this.all.set(id, true);
  }
}

/** Forgets with the process. */
export function memoryCommandLedger(): CommandLedger {
  const ids = new Ids();
  return {
    interrupted: [],
    knows: (id) => ids.all.has(id),
    begin: async (id) => ids.begin(id),
    end: (id) => ids.end(id),
    close: async () => {},
  };
}

interface Waiting {
  readonly id: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What can't be read in the file is passed over: a half-written line is one that nobody was promised. */
export class FileCommandLedger implements CommandLedger {
  readonly #path: string;
  readonly #ids = new Ids();
  readonly interrupted: readonly string[];
  #lines = 0;
  #file: FileHandle | undefined;
  #begun: Waiting[] = [];
  #ended: string[] = [];
  #writing: Promise<void> | undefined;
  #isClosed = false;

  constructor(path: string) {
    this.#path = path;
    const { lines, isTorn } = readLines(path);
    this.#lines = isTorn ? LINES_MAX : lines.length; // nothing is written behind half a line
    for (const line of lines) {
      const [, sign, id] = LINE.exec(line) ?? [];
      if (id === undefined) continue;
      if (sign === '+') this.#ids.begin(id);
      else this.#ids.end(id);
    }
    this.interrupted = [...this.#ids.all].filter(([, hasEnded]) => !hasEnded).map(([id]) => id);
  }

  knows(requestId: string): boolean {
    return this.#ids.all.has(requestId);
  }

  begin(requestId: string): Promise<void> {
    if (this.#isClosed) return Promise.reject(new DeviceError('closed'));
    this.#ids.begin(requestId); // at once: it may be delivered again before this is written
    return new Promise((resolve, reject) => {
      this.#begun.push({ id: requestId, resolve, reject });
      this.#write();
    });
  }

  end(requestId: string): void {
    if (this.#isClosed) return;
    this.#ids.end(requestId);
    this.#ended.push(requestId);
    this.#write();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#writing !== undefined) await this.#writing;
    await this.#file?.close().catch(() => {});
    this.#file = undefined;
  }

  #write(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
      if (this.#begun.length > 0) this.#write();
    });
  }

  async #writeAll(): Promise<void> {
    await undefined; // what comes in the same turn goes with one fsync
    const begun = this.#begun.splice(0);
    const ended = this.#ended.splice(0);
    try {
      if (this.#lines >= LINES_MAX) await this.#writeAnew();
      this.#file ??= await this.#openFile();
      const lines = [...ended.map((id) => `-${id}\n`), ...begun.map(({ id }) => `+${id}\n`)];
      await this.#file.writeFile(lines.join(''));
      if (begun.length > 0) await this.#file.datasync();
      this.#lines += lines.length;
      for (const { resolve } of begun) resolve();
    } catch (error) {
      await this.#file?.close().catch(() => {});
      this.#file = undefined;
      this.#lines = LINES_MAX; // the last line may be half of one
      for (const { id, reject } of begun) {
        this.#ids.all.delete(id);
        reject(error);
      }
    }
  }

  async #openFile(): Promise<FileHandle> {
    const file = await open(this.#path, 'a', 0o600);
    await syncDirectory(this.#path.slice(0, Math.max(1, this.#path.lastIndexOf('/'))));
    return file;
  }

  async #writeAnew(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    const lines = [...this.#ids.all].flatMap(([id, hasEnded]) => (hasEnded ? [`+${id}`, `-${id}`] : [`+${id}`]));
    await writeDurably(this.#path, lines.map((line) => `${line}\n`).join(''), 0o600);
    this.#lines = lines.length;
  }
}

function readLines(path: string): { readonly lines: readonly string[]; readonly isTorn: boolean } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return { lines: [], isTorn: false };
  }
  const lines = text.split('\n');
  return { lines: lines.slice(0, -1), isTorn: lines.at(-1) !== '' };
}
