/**
 * When things happen in a simulated fleet. Pure: no timer, no clock; the same seed gives the same fleet.
 */

/** Numbers from 0 up to but not including 1 (mulberry32: small, fast, and good enough for telemetry). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/**
 * Milliseconds after its connection at which a device first speaks: the fleet's devices share one period evenly, each
 * with a little chance inside its own share, so that they never speak as a choir.
 */
export function firstMessageAt(index: number, devices: number, period: number, random: () => number): number {
  return ((index + random()) / devices) * period;
}

/**
 * When the message after the one due at `due` is due. A device that fell behind by more than one period skips the
 * missed beats instead of catching up in a burst.
 */
export function nextMessageAt(due: number, period: number, now: number): number {
  const next = due + period;
  return next > now ? next : next + Math.ceil((now - next) / period) * period;
}

/** A measured value that wanders: small steps, and a pull back to the middle that keeps it in range. */
export function randomWalk(random: () => number, middle = 20, step = 0.5): () => number {
  let value = middle + (random() - 0.5) * 10 * step;
  return () => {
    value += (random() - 0.5) * 2 * step + (middle - value) * 0.02;
    return Math.round(value * 100) / 100;
  };
}
