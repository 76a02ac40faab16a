/**
 * The time, as far as a device can know it: its own clock, but never before what a server of its fleet once said. Many
 * gateways wake up in 1970. It sets no clock, and certificates are still judged by the system's own.
 */

import { readFile } from 'node:fs/promises';
import { writeDurably } from './durable-file.ts';

export interface ClockStatus {
  /** Milliseconds since 1970: the system's clock, or the last known good time plus what passed since, if that is later. */
  readonly now: number;
  /** Milliseconds by which the system's clock is ahead; negative if it is behind. Undefined until a server told the time. */
  readonly skew: number | undefined;
}

/** Where the last known good time survives a reboot. Both may fail: then there is one less thing to know. */
export interface ClockStore {
  load(): Promise<number | undefined>;
  save(time: number): Promise<void>;
}

export interface DeviceClockOptions {
  readonly store: ClockStore;
  /** The system's clock, milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds of a clock that only goes forward, whatever the system's is set to. */
  readonly uptime: () => number;
}

export class DeviceClock {
  readonly #options: DeviceClockOptions;
  /** Known good at `#at` of the uptime. */
  #floor = 0;
  #at = 0;
  #skew: number | undefined;
  /** A server told the time since this process began: then the floor moves on with it. */
  #isConfirmed = false;

  private constructor(options: DeviceClockOptions) {
    this.#options = options;
    this.#at = options.uptime();
  }

  static async open(options: DeviceClockOptions): Promise<DeviceClock> {
    const clock = new DeviceClock(options);
    clock.raise((await options.store.load().catch(() => undefined)) ?? 0);
    return clock;
  }

  readonly now = (): number => Math.max(this.#options.now(), this.#passed());

  get status(): ClockStatus {
    return { now: this.now(), skew: this.#skew };
  }

  /** It was at least this late once: the beginning of a certificate's life, for example. */
  raise(time: number): void {
    if (time <= this.#passed()) return;
    this.#floor = time;
    this.#at = this.#options.uptime();
  }

  /** A server that proved itself says what time it is now. */
  learn(time: number): void {
    this.#skew = this.#options.now() - time;
    this.#isConfirmed = true;
    this.#floor = time; // an earlier one as well: what was known before was no better than a server's word
    this.#at = this.#options.uptime();
    void this.keep();
  }

  /** Makes what is known good survive a reboot. Never rejects. */
  async keep(): Promise<void> {
    if (this.#isConfirmed) await this.#options.store.save(Math.floor(this.#passed())).catch(() => {});
  }

  #passed(): number {
    return this.#floor + Math.max(0, this.#options.uptime() - this.#at);
  }
}

export function fileClockStore(path: string): ClockStore {
  let saving: Promise<void> = Promise.resolve();
  return {
    load: async () => {
      const { time } = JSON.parse(await readFile(path, 'utf8')) as { readonly time?: unknown };
      return typeof time === 'number' && Number.isSafeInteger(time) && time >= 0 ? time : undefined;
    },
    save: (time) => {
      const write = () => writeDurably(path, `${JSON.stringify({ time })}\n`, 0o644);
      saving = saving.then(write, write); // one after the other: they share a temporary file
      return saving;
    },
  };
}

export function memoryClockStore(): ClockStore {
  let kept: number | undefined;
  return {
    load: async () => kept,
    save: async (time) => {
      kept = time;
    },
  };
}
