/**
 * Writes lines to standard error and never blocks: not on a stalled reader, a full disk or a closed terminal. Lines wait in
 * a buffer of bounded size. A line that does not fit, or that the system refuses, is dropped and counted; the next line
 * that is written reports how many were dropped.
 */

import type { Descriptor } from './descriptor.ts';

export interface LineWriterOptions {
  readonly descriptor: Descriptor;
  /** Text of the line, with its line feed, that reports dropped lines. `code` is the last error, such as ENOSPC. */
  readonly notice: (dropped: number, code: string) => string;
  /** Size limit of the buffer. */
  readonly bufferBytes?: number;
  /** Milliseconds before the next attempt, after a stalled reader and after an error. */
  readonly stalledRetry?: number;
  readonly failedRetry?: number;
}

const BUFFER_BYTES = 1_048_576;
const CHUNK_BYTES = 65_536;
const STALLED_RETRY_MS = 50;
const FAILED_RETRY_MS = 1_000;
/** Attempts at exit to write to a slow reader. */
const LAST_TRIES = 10;
const LAST_TRY_MS = 20;
const LINE_FEED = 0x0a;

export class LineWriter {
  readonly #options: Required<LineWriterOptions>;
  #lines: string[] = [];
  #lineBytes = 0;
  /** The bytes being written; after a short write, the rest of them. */
  #chunk: Uint8Array | undefined;
  #isWriting = false;
  /** The end of a line was lost: the next write starts with a line feed. */
  #isCut = false;
  #failure: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Lines in the chunk without the notice, and the number of dropped lines that its notice reports. */
  #chunkLines = 0;
  #chunkReports = 0;
  #dropped = 0;
  #reported = 0;
  #lastCode = '';
  #idle: (() => void)[] = [];

  constructor(options: LineWriterOptions) {
    this.#options = {
      bufferBytes: BUFFER_BYTES,
      stalledRetry: STALLED_RETRY_MS,
      failedRetry: FAILED_RETRY_MS,
      ...options,
    };
  }

  /** Lines dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes one line, or several, with their line feeds. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#failure !== undefined || this.#lineBytes + bytes > this.#options.bufferBytes) {
      this.#drop(lineFeedsIn(line), this.#failure ?? 'EAGAIN');
      return;
    }
    this.#lines.push(line);
    this.#lineBytes += bytes;
    if (!this.#isWriting) this.#writeNext();
  }

  /** Resolves with true when the buffer is empty, and with false after `timeout` milliseconds. */
  settled(timeout: number): Promise<boolean> {
    if (!this.#isBusy) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeout);
      this.#idle.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  /** Writes at process exit what the reader accepts now, and drops the rest. */
  writeRest(): void {
    const isInFlight = this.#isWriting && this.#timer === undefined;
    const begun = isInFlight || this.#chunk === undefined ? new Uint8Array() : this.#chunk;
    this.#isCut &&= this.#chunk === undefined;
    let rest: Uint8Array = Buffer.concat([begun, Buffer.from(this.#wholeRest())]);
    for (let tries = 0; rest.length > 0 && tries < LAST_TRIES; ) {
      try {
        rest = rest.subarray(this.#options.descriptor.writeNow(rest));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
        tries += 1;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LAST_TRY_MS);
      }
    }
  }

  #wholeRest(): string {
    let text = '';
    for (let next = this.#nextText(); next !== ''; next = this.#lines.length === 0 ? '' : this.#nextText()) {
      text += next;
      this.#reported = this.#chunkReports;
      this.#isCut = false;
    }
    return text;
  }

  get #isBusy(): boolean {
    return this.#failure === undefined && (this.#isWriting || this.#lines.length > 0);
  }

  /** Writes the rest of a chunk, or the next lines from the buffer. */
  #writeNext(): void {
    this.#timer = undefined;
    if (this.#chunk === undefined) {
      const text = this.#nextText();
      if (text === '') {
        this.#isWriting = false;
        for (const resolve of this.#idle.splice(0)) resolve();
        return;
      }
      this.#chunk = Buffer.from(text);
    }
    this.#isWriting = true;
    this.#options.descriptor.write(this.#chunk, (error, written) => this.#wrote(error, written));
  }

  #nextText(): string {
    let text = this.#isCut ? '\n' : '';
    this.#chunkReports = this.#dropped;
    if (this.#dropped > this.#reported) {
      text += this.#options.notice(this.#dropped - this.#reported, this.#lastCode);
    }
    let taken = 0;
    while (taken < this.#lines.length && text.length < CHUNK_BYTES) text += this.#lines[taken++];
    const lines = this.#lines.splice(0, taken);
    this.#lineBytes = this.#lines.length === 0 ? 0 : this.#lineBytes - bytesIn(lines);
    this.#chunkLines = lineFeedsIn(lines.join(''));
    return text;
  }

  #wrote(error: NodeJS.ErrnoException | null, written: number): void {
    const rest = (this.#chunk as Uint8Array).subarray(written);
    if (error?.code === 'EAGAIN' || error?.code === 'EINTR') {
      this.#timer = setTimeout(() => this.#writeNext(), this.#options.stalledRetry).unref();
      return;
    }
    if (error !== null) {
      this.#fail(error.code ?? 'EIO', rest);
      return;
    }
    this.#chunk = rest.length > 0 ? rest : undefined;
    if (this.#chunk === undefined) {
      this.#isCut = false;
      this.#failure = undefined;
      this.#reported = this.#chunkReports;
    }
    this.#writeNext();
  }

  /** Drops the buffer. Only the notice is retried: the next successful write reports the loss. */
  #fail(code: string, rest: Uint8Array): void {
    const cutLines = rest.filter((byte) => byte === LINE_FEED).length;
    this.#failure = code;
    this.#isCut = true;
    this.#chunk = undefined;
    this.#drop(Math.min(cutLines, this.#chunkLines) + lineFeedsIn(this.#lines.join('')), code);
    this.#lines = [];
    this.#lineBytes = 0;
    for (const resolve of this.#idle.splice(0)) resolve();
    this.#timer = setTimeout(() => this.#writeNext(), this.#options.failedRetry).unref();
  }

  #drop(lines: number, code: string): void {
    this.#dropped += lines;
    this.#lastCode = code;
  }
}

function lineFeedsIn(text: string): number {
  return text.split('\n').length - 1;
}

function bytesIn(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
}
