/**
 * Standard output of a command. When the reader closes the pipe, the command ends silently, as SIGPIPE ends other programs;
 * when the disk is full, it ends with an error message. Node's stream for files reports a short write as complete, so this
 * class writes files itself.
 */

import { fstatSync, writeSync } from 'node:fs';
import { isTerminal } from './descriptor.ts';

/** Standard output cannot be written. */
export class OutputLostError extends Error {
  override readonly name = 'OutputLostError';
  readonly code: string;

  constructor(cause: NodeJS.ErrnoException) {
    super(systemReason(cause), { cause });
    this.code = cause.code ?? 'EIO';
  }

  /** The reader has closed the pipe. */
  get isBrokenPipe(): boolean {
    return this.code === 'EPIPE' || this.code === 'ECONNRESET';
  }
}

/** Exit code of a command whose reader closed the pipe: the code that a shell reports for SIGPIPE. */
export const BROKEN_PIPE_EXIT_CODE = 141;

export class StandardOutput {
  #end = (lost: OutputLostError): void => process.exit(lost.isBrokenPipe ? BROKEN_PIPE_EXIT_CODE : 1);
  #isSynchronous: boolean | undefined;
  #lost: OutputLostError | undefined;
  #isIgnored = false;
  #onLost: ((lost: OutputLostError) => void) | undefined;

  /** Sets the handler for output that is lost between two writes, when `onLost` has no listener. */
  onUnhandledLoss(end: (lost: OutputLostError) => void): void {
    this.#end = end;
  }

  get lost(): OutputLostError | undefined {
    return this.#lost;
  }

  /** Throws OutputLostError, unless `onLost` has a listener. */
  write(text: string | Uint8Array): void {
    if (this.#lost === undefined && !this.#isIgnored) {
      if (this.#isSynchronous ?? this.#open()) this.#writeFile(text);
      else process.stdout.write(text);
    }
    if (this.#lost !== undefined && this.#onLost === undefined) throw this.#lost;
  }

  /** Resolves when the reader has read everything written, or has closed the pipe. */
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

  /** Calls `act` once when the output is lost; writes then fail silently. Returns a function that removes the listener. */
  onLost(act: (lost: OutputLostError) => void): () => void {
    this.#onLost = act;
    if (this.#lost !== undefined) act(this.#lost);
    return () => {
      if (this.#onLost === act) this.#onLost = undefined;
    };
  }

  /** For a program that continues without output: calls `hear` once and discards later writes. */
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
