/** Runs asynchronous work one after the other, such as reading, changing and writing one file. */

export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Settles as the work does. Later work runs also when this one fails. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Resolves when all work queued so far has settled. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
