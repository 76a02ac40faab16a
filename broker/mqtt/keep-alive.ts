/**
 * Detects a client that exceeds its keep-alive [MQTT-3.1.2-24]. One timer runs until the earliest time at which that is possible:
 * restarting it with every packet would cost more than most packets do.
 */

export interface KeepAliveOptions {
  /** Milliseconds without a packet after which the client has expired. */
  readonly timeout: number;
  /** When the last packet was received, by the monotonic clock. */
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
