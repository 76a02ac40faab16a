/** A clock and timers that move when a test says so. */

export interface ManualTime {
  readonly now: () => number;
  readonly schedule: (milliseconds: number, action: () => void) => () => void;
  /** Milliseconds until the next timer, undefined if none is set. */
  nextIn(): number | undefined;
  /** Moves the clock, and runs what is due on the way, in order. */
  advance(milliseconds: number): void;
  /** The clock is set, forwards or backwards, without any time passing: no timer fires. */
  set(time: number): void;
  /** Timers that are set. */
  readonly pending: number;
}

/**
 * For a device and its servers: it is ahead of them, and of the certificates made meanwhile. A device knows no time earlier
 * than what a server said plus the uptime since, and that passes while a test's clock stands still.
 */
export function deviceTime(): ManualTime & { readonly servers: () => number } {
  const time = manualTime(Date.now() + AHEAD_MS);
  return Object.assign(time, { servers: () => time.now() - AHEAD_MS });
}

export function manualTime(start: number): ManualTime {
  let clock = start;
  let elapsed = 0;
  let timers: { readonly at: number; readonly action: () => void }[] = [];
  const next = () => timers.reduce((soonest, timer) => (timer.at < soonest.at ? timer : soonest), timers[0] ?? NEVER);
  return {
    now: () => clock,
    schedule: (milliseconds, action) => {
      const timer = { at: elapsed + milliseconds, action };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    nextIn: () => (timers.length === 0 ? undefined : next().at - elapsed),
    advance: (milliseconds) => {
      const end = elapsed + milliseconds;
      for (let timer = next(); timer.at <= end; timer = next()) {
        const due = timer;
        timers = timers.filter((other) => other !== due);
        clock += Math.max(0, due.at - elapsed);
        elapsed = Math.max(elapsed, due.at);
        due.action();
      }
      clock += end - elapsed;
      elapsed = end;
    },
    set: (time) => {
      clock = time;
    },
    get pending() {
      return timers.length;
    },
  };
}

/** Longer than a test takes, and less than a device puts down to slow answers. */
const AHEAD_MS = 30_000;
const NEVER = { at: Number.POSITIVE_INFINITY, action: () => {} };
