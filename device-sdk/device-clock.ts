/**
 * The time of a device: the system's clock, but never earlier than the last time of a verified server. Many gateways start
 * in 1970. The module does not set the system's clock.
 */

import type { PeerClock } from './https-exchange.ts';
import { type JsonFile, jsonFile, memoryJson } from './json-file.ts';
import type { ValidityTime } from './server-verification.ts';

/** Milliseconds of skew that a slow answer and whole seconds can explain. */
export const SKEW_TOLERATED_MS = 60_000;

export interface ClockStatus {
  /**
   * Milliseconds since 1970: the system's clock, or the last known good time plus what passed since, if that is later or
   * if the system's clock is known to be wrong.
   */
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
  /** Told the skew, milliseconds, each time a server told the time. */
  readonly learnt?: (skew: number) => void;
}

export class DeviceClock implements PeerClock {
  readonly #options: DeviceClockOptions;
  /** Known good at `#at` of the uptime. */
  #floor = 0;
  #at = 0;
  /** As it was when a server told the time last. */
  #skew: number | undefined;

  private constructor(options: DeviceClockOptions) {
    this.#options = options;
    this.#at = options.uptime();
  }

  static async open(options: DeviceClockOptions): Promise<DeviceClock> {
    const clock = new DeviceClock(options);
    clock.advanceTo((await options.store.load().catch(() => undefined)) ?? 0);
    return clock;
  }

  readonly now = (): number => (this.#isSystemWrong() ? this.#passed() : Math.max(this.#options.now(), this.#passed()));

  /** The time for the validity check of servers: the system's clock unless it is known to be wrong. */
  dates(): ValidityTime {
    return this.#isSystemWrong() ? this.#passed() : 'system';
  }

  /** The last known good time, milliseconds since 1970; zero if there is none. */
  get lastGood(): number {
    return this.#floor;
  }

  get status(): ClockStatus {
    return { now: this.now(), skew: this.#skew };
  }

  /** Raises the last known good time, for example to the notBefore of a certificate. */
  advanceTo(time: number): void {
    if (time <= this.#passed()) return;
    this.#floor = time;
    this.#at = this.#options.uptime();
  }

  /** Applies the current time of a verified server. */
  learn(time: number): void {
    this.#skew = this.#options.now() - time;
    this.#options.learnt?.(this.#skew);
    this.#floor = time; // an earlier one as well: what was known before was no better than a server's word
    this.#at = this.#options.uptime();
    void this.persist();
  }

  /** Stores the last known good time. Never rejects. */
  async persist(): Promise<void> {
    if (this.#skew !== undefined) await this.#options.store.save(Math.floor(this.#passed())).catch(() => {});
  }

  /**
   * It was wrong when a server told the time, and still is. One that was right then may be wrong now as well, but so may
   * the uptime, which stands still while a machine sleeps: the system gets the benefit of the doubt until TLS fails.
   */
  #isSystemWrong(): boolean {
    if (this.#skew === undefined || Math.abs(this.#skew) <= SKEW_TOLERATED_MS) return false;
    return Math.abs(this.#options.now() - this.#passed()) > SKEW_TOLERATED_MS;
  }

  #passed(): number {
    return this.#floor + Math.max(0, this.#options.uptime() - this.#at);
  }
}

export function fileClockStore(path: string): ClockStore {
  return clockStore(jsonFile(path, 0o644));
}

export function memoryClockStore(): ClockStore {
  return clockStore(memoryJson());
}

function clockStore(file: JsonFile): ClockStore {
  return {
    load: async () => {
      const { time } = ((await file.load()) ?? {}) as { readonly time?: unknown };
      return typeof time === 'number' && Number.isSafeInteger(time) && time >= 0 ? time : undefined;
    },
    save: (time) => file.save({ time }),
  };
}
