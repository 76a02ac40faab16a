/** Timers that tests can replace, and the uptime of the process. */

/** Calls `action` once after `milliseconds`. The returned function cancels the call. */
export type Schedule = (milliseconds: number, action: () => void) => () => void;

/** Longest delay of setTimeout, about 24.8 days; a longer one fires at once. */
const LONGEST_MS = 2 ** 31 - 1;

export const realTimers: Schedule = (milliseconds, action) => {
  let left = milliseconds;
  let timer: NodeJS.Timeout;
  const wait = () => {
    const now = Math.min(left, LONGEST_MS);
    left -= now;
    timer = setTimeout(left > 0 ? wait : action, now);
  };
  wait();
  return () => clearTimeout(timer);
};

/** Milliseconds since this process began. `performance.now()` returns the same and costs a megabyte of memory. */
export const uptime = (): number => process.uptime() * 1_000;
