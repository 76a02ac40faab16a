/** One reading for all who ask at about the same time: however many operators look, what is read is read once in that time. */

interface Reading<Result> {
  readonly found: Promise<Result>;
  /** By a monotonic clock, ms; undefined while it is read. */
  until: number | undefined;
}

/**
 * A call while another of the same key is under way gets its result, and so does one within `keep` ms after it began. A reading that takes longer
 * than that is given to those alone who asked meanwhile. `keys` are few: what was read for each is kept until it is read again.
 */
export function coalesced<Key, Result>(
  read: (key: Key) => Promise<Result>,
  keep: number,
  now: () => number = () => performance.now(),
): (key: Key) => Promise<Result> {
  const readings = new Map<Key, Reading<Result>>();
  return (key) => {
    const last = readings.get(key);
    if (last !== undefined && (last.until === undefined || now() < last.until)) return last.found;
    const until = now() + keep;
    const reading: Reading<Result> = { found: read(key), until: undefined };
    readings.set(key, reading);
    const settled = () => {
      reading.until = until;
    };
    reading.found.then(settled, settled);
    return reading.found;
  };
}
