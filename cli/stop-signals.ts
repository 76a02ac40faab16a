/** The ways an operator or a supervisor ends the program. */

export type StopSignal = 'SIGINT' | 'SIGTERM';

const SIGNALS: readonly StopSignal[] = ['SIGINT', 'SIGTERM'];

/**
 * Runs `act` with a promise of the first signal, so that it can end cleanly. A second signal ends the program at once, for
 * when a clean end takes too long; so does the first one once `act` is over.
 */
export async function untilStopped<T>(act: (stopped: Promise<StopSignal>) => Promise<T>): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<StopSignal>();
  let isStopping = false;
  const heard = (signal: StopSignal) => {
    if (isStopping) process.exit(1);
    isStopping = true;
    resolve(signal);
  };
  for (const signal of SIGNALS) process.on(signal, heard);
  try {
    return await act(promise);
  } finally {
    for (const signal of SIGNALS) process.off(signal, heard);
  }
}
