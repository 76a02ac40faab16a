import type { CursorFile } from '../../storage/index.ts';

const BLOCK = 1_000_000;

export class ConnectionNumbers {
  readonly #file: CursorFile;
  #next: number;
  #reserved: number;

  /** Throws errors of the file. */
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
    this.#file.saveSync(this.#reserved + BLOCK);
    this.#reserved += BLOCK;
  }
}
