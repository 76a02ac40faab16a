/**
 * The two output streams of a program: results go to standard output; everything else, including the log, goes to
 * standard error. Both open at their first use.
 */

import { openDescriptor } from './descriptor.ts';
import { LineWriter } from './line-writer.ts';
import { StandardOutput } from './standard-output.ts';

export const standardOutput = new StandardOutput();

class StandardError {
  #isLog = false;
  #isJournal = false;
  #writer: LineWriter | undefined;

  /** Makes the notice of dropped lines a log line. `isJournal`: without a time, and with a priority before it. */
  useAsLog({ isJournal = false }: { readonly isJournal?: boolean } = {}): void {
    this.#isLog = true;
    this.#isJournal = isJournal;
  }

  /** Takes whole lines. Never waits, and never fails. */
  write(lines: string): void {
    this.#open().write(lines);
  }

  /** Resolves with true when the buffer is empty, and with false after `timeout` milliseconds. */
  async settled(timeout: number): Promise<boolean> {
    return this.#writer === undefined || this.#writer.settled(timeout);
  }

  counters(): { readonly log_lines_dropped_total: number } {
    return { log_lines_dropped_total: this.#writer?.dropped ?? 0 };
  }

  #open(): LineWriter {
    if (this.#writer === undefined) {
      const writer = new LineWriter({
        descriptor: openDescriptor(2),
        notice: (dropped, code) => this.#notice(dropped, code),
      });
      process.on('exit', () => writer.writeRest());
      this.#writer = writer;
    }
    return this.#writer;
  }

  #notice(dropped: number, code: string): string {
    const phrase = 'lines were dropped: standard error could not be written';
    if (!this.#isLog) return `${dropped} ${phrase} (${code})\n`;
    const [priority, time] = this.#isJournal ? ['<4>', {}] : ['', { time: new Date().toISOString() }];
    return `${priority}${JSON.stringify({ level: 'warn', ...time, component: 'log', dropped, code, msg: `log ${phrase}` })}\n`;
  }
}

export const standardError = new StandardError();
