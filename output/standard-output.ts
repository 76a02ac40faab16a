/**
 * Standard output of a command: its results. A reader that went away ends the command silently, as SIGPIPE ends other
 * programs; a full disk ends it with a sentence. Node's own stream for files counts a short write as a whole one, so files
 * are written here.
 */

import { fstatSync, writeSync } from 'node:fs';
import { isTerminal } from './descriptor.ts';

/** Standard output can't be written any more. */
export class OutputLostError extends Error {
  override readonly name = 'OutputLost';
  readonly code: string;

  constructor(cause: NodeJS.ErrnoException) {
    super(systemReason(cause), { cause });
    this.code = cause.code ?? 'EIO';
  }

  /** Who read has seen enough. */
  get isBrokenPipe(): boolean {
    return this.code === 'EPIPE' || this.code === 'ECONNRESET';
  }
}

/** Exit code of a command whose reader went away: what a shell reports of a program that SIGPIPE ended. */
export const BROKEN_PIPE_EXIT_CODE = 141;

export class StandardOutput {
  #end = (lost: OutputLostError): void => process.exit(lost.isBrokenPipe ? BROKEN_PIPE_EXIT_CODE : 1);
  #isSynchronous: boolean | undefined;
  #lost: OutputLostError | undefined;
  #isIgnored = false;
  #onLost: ((lost: OutputLostError) => void) | undefined;

  /** What ends the process when the output is lost between two writes and nobody asked for it by `whenLost`. */
  onUnhandledLoss(end: (lost: OutputLostError) => void): void {
    this.#end = end;
  }

  get lost(): OutputLostError | undefined {
    return this.#lost;
  }

  /** Throws OutputLost, unless `whenLost` was told. */
  write(text: string | Uint8Array): void {
    if (this.#lost === undefined && !this.#isIgnored) {
      if (this.#isSynchronous ?? this.#open()) this.#writeFile(text);
      else process.stdout.write(text);
    }
    if (this.#lost !== undefined && this.#onLost === undefined) throw this.#lost;
  }

  /** Resolves when the reader has taken what was written, or is gone. */
  async drained(): Promise<void> {
    if (this.#isSynchronous !== false || this.#lost !== undefined || !process.stdout.writableNeedDrain) return;
    await new Promise<void>((resolve) => {
      const settle = () => {
        process.stdout.off('drain', settle).off('error', settle);
        resolve();
      };
      process.stdout.on('drain', settle).on('error', settle);
    });
  }

  /** Calls `act` once when the output is lost, and lets writes fail silently. Returns how to end that. */
  onLost(act: (lost: OutputLostError) => void): () => void {
    this.#onLost = act;
    if (this.#lost !== undefined) act(this.#lost);
    return () => {
      if (this.#onLost === act) this.#onLost = undefined;
    };
  }

  /** For a program that works without it: tells `hear` once, and forgets what is written. */
  ignoreLoss(hear: (lost: OutputLostError) => void): void {
    this.#onLost = (lost) => {
      this.#lost = undefined;
      this.#isIgnored = true;
      hear(lost);
    };
  }

  #open(): boolean {
    const stats = fstatSync(1);
    this.#isSynchronous = stats.isFile() || (stats.isCharacterDevice() && !isTerminal(1));
    if (!this.#isSynchronous) {
      process.stdout.on('error', (error) => {
        if (this.#lose(error) && this.#onLost === undefined) this.#end(this.#lost as OutputLostError);
      });
    }
    return this.#isSynchronous;
  }

  #writeFile(text: string | Uint8Array): void {
    let rest: Uint8Array = typeof text === 'string' ? Buffer.from(text) : text;
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      this.#lose(error as NodeJS.ErrnoException);
    }
  }

  #lose(error: NodeJS.ErrnoException): boolean {
    if (this.#lost !== undefined || this.#isIgnored) return false;
    this.#lost = new OutputLostError(error);
    this.#onLost?.(this.#lost);
    return true;
  }
}

/** `no space left on device (ENOSPC)`, from `ENOSPC: no space left on device, write`. */
export function systemReason({ message, code }: NodeJS.ErrnoException): string {
  const words = /^[A-Z0-9]+: ([^,]+),/.exec(message)?.[1];
  return words === undefined ? message : `${words} (${code})`;
}
