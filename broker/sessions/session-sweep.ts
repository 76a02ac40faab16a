/** Periodic work on all connected sessions: ends those with an expired certificate or a stalled reader. */

import type { BrokerContext } from '../broker-context.ts';
import type { MessagePipeline } from '../message-pipeline.ts';
import type { SessionState } from './session-state.ts';

/** One timer serves all sessions. The function it returns stops the timer. */
export function startSessionSweep(
  { limits, now }: BrokerContext,
  { sessions, reporter }: SessionState,
  { storageShareLimiter }: Pick<MessagePipeline, 'storageShareLimiter'>,
  sweepStored: (now: number) => void,
): () => void {
  const timer = setInterval(() => {
    const time = now();
    const monotonic = performance.now();
    for (const session of sessions.all()) {
      if (session.isEnded) continue;
      if (session.facts.notAfter <= time) session.end('certificate_expired');
      else if (session.connection.stalledFor(monotonic) > limits.stallTimeout) session.terminate('slow_consumer');
    }
    storageShareLimiter.sweep();
    sessions.sweep(time);
    reporter.sweep(time);
    sweepStored(time);
  }, limits.sweepInterval);
  timer.unref();
  return () => clearInterval(timer);
}
