/**
 * Whether a node may still act, from when its heartbeats were confirmed. Each bound counts from the sending of the last heartbeat that
 * was confirmed, so a node stops before others can conclude that it has stopped. Pure: sends nothing.
 */

/**
 * `alive`: it acts. `deaf`: it reads, acknowledges and delivers nothing, and others may take over what it owned. `expired`: it closes its
 * sockets; also before the first heartbeat is confirmed.
 */
export type Liveness = 'alive' | 'deaf' | 'expired';

export const DEAF_AFTER_MS = 1_000;
export const EXPIRED_AFTER_MS = 30_000;

export interface HeartbeatBounds {
  /** Milliseconds without a confirmed heartbeat; `DEAF_AFTER_MS` and `EXPIRED_AFTER_MS` without them. */
  readonly deafAfter?: number | undefined;
  readonly expiredAfter?: number | undefined;
}

export interface HeartbeatOptions extends HeartbeatBounds {
  /** Milliseconds, never backwards; includes the time while the machine was suspended. */
  readonly now: () => number;
  /** Runs `action` once after so many milliseconds; returns a function that prevents it. */
  readonly schedule: (milliseconds: number, action: () => void) => () => void;
  /** At each change. Timers can be late: before acting ask `liveness`. */
  readonly onChange?: ((liveness: Liveness) => void) | undefined;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #deafAfter: number;
  readonly #expiredAfter: number;
  #confirmedAt = Number.NEGATIVE_INFINITY;
  #reported: Liveness = 'expired';
  #cancel: (() => void) | undefined;
  #isEnded = false;

  /** Throws RangeError unless 0 < `deafAfter` <= `expiredAfter`. */
  constructor(options: HeartbeatOptions) {
    const { deafAfter = DEAF_AFTER_MS, expiredAfter = EXPIRED_AFTER_MS } = options;
    if (!(deafAfter > 0 && deafAfter <= expiredAfter)) throw new RangeError('expected 0 < deafAfter <= expiredAfter');
    this.#options = options;
    this.#deafAfter = deafAfter;
    this.#expiredAfter = expiredAfter;
  }

  /** When the last heartbeat was sent that was confirmed; before the first one, and after `end`, negative infinity. */
  get confirmedAt(): number {
    return this.#confirmedAt;
  }

  /** By the clock, at this moment. */
  get liveness(): Liveness {
    const silent = this.#options.now() - this.#confirmedAt;
    if (silent < this.#deafAfter) return 'alive';
    return silent < this.#expiredAfter ? 'deaf' : 'expired';
  }

  /** A heartbeat was confirmed that was sent at `sentAt`, of the same clock. Has no effect after `end`. */
  confirm(sentAt: number): void {
    if (this.#isEnded || sentAt <= this.#confirmedAt) return;
    this.#confirmedAt = sentAt;
    this.#report();
  }

  /** Expired at once and for good: another one has its place. */
  end(): void {
    this.#isEnded = true;
    this.#confirmedAt = Number.NEGATIVE_INFINITY;
    this.#report();
  }

  /** Reports nothing more. */
  close(): void {
    this.#isEnded = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #report(): void {
    this.#cancel?.();
    const { now, schedule, onChange } = this.#options;
    const liveness = this.liveness;
    const bound = liveness === 'alive' ? this.#deafAfter : this.#expiredAfter;
    this.#cancel =
      liveness === 'expired' ? undefined : schedule(this.#confirmedAt + bound - now(), () => this.#report());
    if (liveness === this.#reported) return;
    this.#reported = liveness;
    onChange?.(liveness);
  }
}

const JUMP_MS = 100;

/**
 * A clock for `Heartbeat`: the monotonic one, which stands still while a machine is suspended, plus what the wall clock then jumps
 * forwards. A wall clock that is set forwards has the same effect: the node is deaf until its next heartbeat.
 */
export function suspensionAwareClock(
  monotonic: () => number = () => performance.now(),
  wall: () => number = () => Date.now(),
): () => number {
  let difference = wall() - monotonic();
  let suspended = 0;
  return () => {
    const time = monotonic();
    const jump = wall() - time - difference;
    difference += jump;
    if (jump > JUMP_MS) suspended += jump;
    return time + suspended;
  };
}
