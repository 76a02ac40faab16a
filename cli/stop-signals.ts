import { standardOutput } from '@rollcall/output';
export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** SIGPIPE stands for a standard output that is lost. */
export type StopReason = StopSignal | 'SIGPIPE';

const STOPPING: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** The same signal again within this time is the same order: a terminal or a supervisor sends it to the whole group. */
const ECHO_MS = 300;

/**
 * Runs `act` with a promise of the first signal, so that it can end cleanly. A second signal ends the program at once, for
 * when a clean end takes too long; so does the first one once `act` is over. Lost output ends it like a signal.
 */
export async function untilStopped<T>(act: (stopped: Promise<StopReason>) => Promise<T>): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<StopReason>();
  const stopListening = onStopSignal(STOPPING, resolve);
  const unwatch = standardOutput.whenLost(() => resolve('SIGPIPE'));
  try {
    return await act(promise);
  } finally {
    stopListening();
    unwatch();
  }
}

/**
 * The same for a server, which outlives the terminal that it was started from and needs neither standard output nor a
 * hang-up: `onIgnored` hears of both.
 */
export async function untilServerStopped<T>(
  act: (stopped: Promise<StopReason>) => Promise<T>,
  onIgnored: (cause: { readonly signal: 'SIGHUP' } | { readonly standardOutput: string }) => void,
): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<StopReason>();
  const stopListening = onStopSignal(['SIGINT', 'SIGTERM'], resolve);
  const hungUp = () => onIgnored({ signal: 'SIGHUP' });
  process.on('SIGHUP', hungUp);
  standardOutput.ignoreLoss((lost) => onIgnored({ standardOutput: lost.message }));
  try {
    return await act(promise);
  } finally {
    stopListening();
    process.off('SIGHUP', hungUp);
  }
}

function onStopSignal(signals: readonly StopSignal[], stop: (signal: StopSignal) => void): () => void {
  let first: { readonly signal: StopSignal; readonly at: number } | undefined;
  const heard = (signal: StopSignal) => {
    if (first === undefined) {
      first = { signal, at: performance.now() };
      stop(signal);
    } else if (signal !== first.signal || performance.now() - first.at > ECHO_MS) process.exit(1);
  };
  for (const signal of signals) process.on(signal, heard);
  return () => {
    for (const signal of signals) process.off(signal, heard);
  };
}
