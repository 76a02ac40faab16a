/**
 * Wakes readers of tables on all nodes. A wake says only that a channel may have news: a reader finds them by its cursor. Wakes are
 * coalesced, and one may be lost with a connection; then every reader is woken once. So a carrier may be slow, or poll.
 */

export interface Wakes {
  /** After a commit: wakes the listeners of the channel on every node, this one included, within milliseconds. Never throws. */
  wake(channel: string): void;
  /** Returns a function that removes the listener. */
  onWake(channel: string, listener: () => void): () => void;
  close(): Promise<void>;
}

const CHANNEL = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/;

/** The listeners of this node: each is called once for all wakes of one turn of the event loop. */
export class WakeListeners {
  readonly #listeners = new Map<string, Set<() => void>>();
  #woken: Set<string> | undefined;

  /** Throws RangeError for anything but 1 to 64 of A-Z a-z 0-9 . _ : - */
  add(channel: string, listener: () => void): () => void {
    checkChannel(channel);
    const listeners = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, listeners);
    // Another object, so that the same function may listen twice.
    const entry = () => listener();
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
      if (listeners.size === 0 && this.#listeners.get(channel) === listeners) this.#listeners.delete(channel);
    };
  }

  /** What a listener throws is thrown in a turn of its own, as of a timer. */
  wake(channel: string): void {
    if (!this.#listeners.has(channel)) return;
    if (this.#woken === undefined) {
      this.#woken = new Set();
      setImmediate(() => this.#call());
    }
    this.#woken.add(channel);
  }

  wakeAll(): void {
    for (const channel of this.#listeners.keys()) this.wake(channel);
  }

  clear(): void {
    this.#listeners.clear();
  }

  #call(): void {
    const woken = this.#woken ?? new Set();
    this.#woken = undefined;
    for (const channel of woken) {
      for (const listener of this.#listeners.get(channel) ?? []) {
        try {
          listener();
        } catch (error) {
          setImmediate(() => {
            throw error;
          });
        }
      }
    }
  }
}

export function checkChannel(channel: string): void {
  if (!CHANNEL.test(channel)) throw new RangeError('expected a channel of 1 to 64 of A-Z a-z 0-9 . _ : -');
}

/** For engines that cannot notify: every listener is woken at an interval, and those of this node at once. */
export class PollingWakes implements Wakes {
  readonly #listeners = new WakeListeners();
  readonly #timer: NodeJS.Timeout;

  /** `every`: milliseconds. */
  constructor(every: number) {
    this.#timer = setInterval(() => this.#listeners.wakeAll(), every);
    this.#timer.unref();
  }

  wake(channel: string): void {
    checkChannel(channel);
    this.#listeners.wake(channel);
  }

  onWake(channel: string, listener: () => void): () => void {
    return this.#listeners.add(channel, listener);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }
}
