/** Work that must not overlap, such as reading, changing and writing one file: each begins when the one before has ended. */

export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Settles as the work does. Work that fails holds up nothing behind it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Resolves when all that was given so far has ended, however it did. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
