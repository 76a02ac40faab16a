import { standardOutput } from '@rollcall/output';
export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** SIGPIPE means that standard output is lost. */
export type StopReason = StopSignal | 'SIGPIPE';

const STOPPING: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** The same signal within this time counts once: a terminal or a supervisor sends it to the whole process group. */
const REPEAT_MS = 300;

/**
 * Runs `operation` with a promise of the first stop signal, so that it can end cleanly. A second signal ends the process at once,
 * and so does the first one after `operation` has ended. Lost output counts as a signal.
 */
export async function untilStopped<T>(operation: (stopped: Promise<StopReason>) => Promise<T>): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<StopReason>();
  const stopListening = onStopSignal(STOPPING, resolve);
  const unwatch = standardOutput.onLost(() => resolve('SIGPIPE'));
  try {
    return await operation(promise);
  } finally {
    stopListening();
    unwatch();
  }
}

/**
 * The same for a server. It keeps running when its terminal closes: the loss of standard output is passed to `onLost`, and SIGHUP, which also
 * asks for its configuration to be read again, to `onHangUp`.
 */
export async function untilServerStopped<T>(
  operation: (stopped: Promise<StopReason>) => Promise<T>,
  { onHangUp, onLost }: { readonly onHangUp: () => void; readonly onLost: (reason: string) => void },
): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<StopReason>();
  const stopListening = onStopSignal(['SIGINT', 'SIGTERM'], resolve);
  process.on('SIGHUP', onHangUp);
  standardOutput.ignoreLoss((lost) => onLost(lost.message));
  try {
    return await operation(promise);
  } finally {
    stopListening();
    process.off('SIGHUP', onHangUp);
  }
}

function onStopSignal(signals: readonly StopSignal[], stop: (signal: StopSignal) => void): () => void {
  let first: { readonly signal: StopSignal; readonly at: number } | undefined;
  const onSignal = (signal: StopSignal) => {
    if (first === undefined) {
      first = { signal, at: performance.now() };
      stop(signal);
    } else if (signal !== first.signal || performance.now() - first.at > REPEAT_MS) process.exit(1);
  };
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
}
