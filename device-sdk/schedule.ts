/** Timers as something that is given, so that a test can say when time has passed; and how much really has. */

/** Calls `action` once after so many milliseconds, unless the function it returns is called before. */
export type Schedule = (milliseconds: number, action: () => void) => () => void;

/** setTimeout fires at once when it is asked for more; about 24.8 days. */
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

/** Milliseconds since this process began. `performance.now()` says the same, and costs a megabyte of memory. */
export const uptime = (): number => process.uptime() * 1_000;
