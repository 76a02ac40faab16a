/** The ways an operator or a supervisor ends the program. */

export type StopSignal = 'SIGINT' | 'SIGTERM';

/** Resolves at the first signal. A second one ends the program at once, for when a clean end takes too long. */
export function untilStopped(): Promise<StopSignal> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        resolve(signal);
        process.once(signal, () => process.exit(1));
      });
    }
  });
}
