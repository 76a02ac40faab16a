/** Draws lines over the whole terminal, on its alternate screen, and leaves the terminal as it was. */

import { escapeControls, standardOutput } from '@rollcall/output';
import { clip, type TextSize } from './snapshot-text.ts';

/** xterm control sequences: alternate screen, cursor, automatic wrap. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const REVERSE = '\u001b[7m';
const PLAIN = '\u001b[m';

/** Terminals that report no size, such as serial lines. */
const DEFAULT_SIZE: TextSize = { columns: 80, rows: 24 };
const CTRL_C = '\u0003';

export interface LiveScreenOptions {
  /** The lines of the content in this size. */
  readonly layout: (size: TextSize) => readonly string[];
  readonly onQuit: () => void;
}

export class LiveScreen {
  readonly #layout: LiveScreenOptions['layout'];
  readonly #onQuit: () => void;
  /** What is wrong; drawn in place of the line about keys. */
  #alert: string | undefined;
  #isOpen = false;

  constructor({ layout, onQuit }: LiveScreenOptions) {
    this.#layout = layout;
    this.#onQuit = onQuit;
  }

  open(): void {
    this.#isOpen = true;
    standardOutput.write(ENTER);
    process.stdout.on('resize', this.#redraw);
    process.once('exit', this.#leave);
    if (!process.stdin.isTTY) return;
    // In raw mode Ctrl-C is a character and no signal.
    process.stdin.setRawMode(true).setEncoding('utf8').on('data', this.#onKeys).resume();
    process.stdin.on('end', this.#onQuit).on('error', this.#onQuit); // the terminal was closed
  }

  draw(alert?: string): void {
    this.#alert = alert;
    this.#redraw();
  }

  close(): void {
    process.off('exit', this.#leave);
    process.stdout.off('resize', this.#redraw);
    if (process.stdin.isTTY) process.stdin.off('data', this.#onKeys).setRawMode(false).pause();
    this.#leave();
  }

  readonly #redraw = (): void => {
    const { columns = DEFAULT_SIZE.columns, rows = DEFAULT_SIZE.rows } = process.stdout;
    const content = this.#layout({ columns, rows: Math.max(0, rows - 1) }).slice(0, Math.max(0, rows - 1));
    const blank = Array<string>(Math.max(0, rows - 1 - content.length)).fill('');
    const foot =
      this.#alert === undefined
        ? clip(process.stdin.isTTY ? 'q quits' : 'Ctrl-C quits', columns)
        : `${REVERSE}${clip(escapeControls(this.#alert), columns)}${PLAIN}`;
    const lines = [...content, ...blank, foot];
    standardOutput.write(`${HOME}${lines.map((line) => `${line}${CLEAR_LINE}`).join('\r\n')}${CLEAR_BELOW}`);
  };

  readonly #onKeys = (keys: string): void => {
    if (keys.includes('q') || keys.includes('Q') || keys.includes(CTRL_C)) this.#onQuit();
  };

  readonly #leave = (): void => {
    if (this.#isOpen) standardOutput.write(LEAVE);
    this.#isOpen = false;
  };
}
