/**
 * Numbers for connections: each greater than all before it, over restarts and whatever the clock does. The file holds a
 * number that was never given; they are taken from it in blocks, so that a connection costs no disk.
 */

import type { CursorFile } from '../../storage/cursor-file.ts';

const BLOCK = 1_000_000;

export class ConnectionNumbers {
  readonly #file: CursorFile;
  #next: number;
  #reserved: number;

  /** Throws what the file throws. */
  constructor(file: CursorFile) {
    this.#file = file;
    this.#next = file.read() ?? 1;
    this.#reserved = this.#next;
    this.#reserve();
  }

  next(): number {
    if (this.#next === this.#reserved) this.#reserve();
    const number = this.#next;
    this.#next += 1;
    return number;
  }

  #reserve(): void {
    this.#file.saveNow(this.#reserved + BLOCK);
    this.#reserved += BLOCK;
  }
}
