/**
 * Notices a client that has said nothing for too long [MQTT-3.1.2-24]. One timer, which looks when time may be up: winding
 * one up with every packet would cost more than most packets do.
 */

export interface KeepAliveOptions {
  /** Milliseconds that are too long. */
  readonly most: number;
  /** When something was heard last, by the monotonic clock. */
  readonly heardAt: () => number;
  readonly tooLong: () => void;
}

export class KeepAliveTimer {
  readonly #options: KeepAliveOptions;
  #timer: NodeJS.Timeout;

  constructor(options: KeepAliveOptions) {
    this.#options = options;
    this.#timer = setTimeout(check, options.most, this).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  look(): void {
    const { most, heardAt, tooLong } = this.#options;
    const left = heardAt() + most - performance.now();
    // A timer may be up to a millisecond early.
    if (left <= 1) tooLong();
    else this.#timer = setTimeout(check, left, this).unref();
  }
}

function check(silence: KeepAliveTimer): void {
  silence.look();
}
