/**
 * Notices a client that has said nothing for too long [MQTT-3.1.2-24]. One timer, which looks when time may be up: winding
 * one up with every packet would cost more than timeout packets do.
 */

export interface KeepAliveOptions {
  /** Milliseconds that are too long. */
  readonly timeout: number;
  /** When something was heard last, by the monotonic clock. */
  readonly lastReceivedAt: () => number;
  readonly expired: () => void;
}

export class KeepAliveTimer {
  readonly #options: KeepAliveOptions;
  #timer: NodeJS.Timeout;

  constructor(options: KeepAliveOptions) {
    this.#options = options;
    this.#timer = setTimeout(check, options.timeout, this).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  check(): void {
    const { timeout, lastReceivedAt, expired } = this.#options;
    const left = lastReceivedAt() + timeout - performance.now();
    // A timer may be up to a millisecond early.
    if (left <= 1) expired();
    else this.#timer = setTimeout(check, left, this).unref();
  }
}

function check(silence: KeepAliveTimer): void {
  silence.check();
}
