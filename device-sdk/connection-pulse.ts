import { PINGREQ } from './mqtt-codec/index.ts';
import type { PacketWriter } from './packet-writer.ts';
import { uptime } from './schedule.ts';

export interface ConnectionPulseOptions {
  readonly writer: PacketWriter;
  /** Milliseconds without any PUBACK, while messages wait for one, after which the broker is given up. */
  readonly ackTimeout: number;
  readonly awaitsAck: () => boolean;
  /** The broker is given up. */
  readonly dead: (error: Error) => void;
}

/** Finds out that nobody answers at the other end: a PINGREQ without an answer, or messages without PUBACK. */
export class ConnectionPulse {
  readonly #options: ConnectionPulseOptions;
  #timer: NodeJS.Timeout | undefined;
  #hasHeard = true;
  #isProbing = false;
  /** Uptime of the last PUBACK, or of the first message that waits for one. */
  #answeredAt = 0;

  constructor(options: ConnectionPulseOptions) {
    this.#options = options;
  }

  /** `keepalive`: seconds of silence, in either direction, before PINGREQ; half as long for PINGRESP. */
  start(keepalive: number): void {
    this.#timer = setInterval(() => this.#beat(), (keepalive * 1_000) / 2);
  }

  /** Anything was received. */
  heard(): void {
    this.#hasHeard = true;
    this.#isProbing = false;
  }

  /** PUBACK came, or the first message that waits for one was sent. */
  restartAckTimeout(): void {
    this.#answeredAt = uptime();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Twice per keepalive: a probe that found no answer until the next beat means that nobody is there. */
  #beat(): void {
    const { writer, ackTimeout, awaitsAck, dead } = this.#options;
    const hasWritten = writer.takeHasWritten();
    if (this.#isProbing) {
      dead(new Error('the line is dead'));
    } else if (awaitsAck() && uptime() - this.#answeredAt > ackTimeout) {
      dead(new Error(`no PUBACK within ${ackTimeout} ms`));
    } else if (!this.#hasHeard || !hasWritten) {
      this.#isProbing = true;
      writer.write(PINGREQ);
    }
    this.#hasHeard = false;
    if (this.#isProbing) writer.takeHasWritten();
  }
}
