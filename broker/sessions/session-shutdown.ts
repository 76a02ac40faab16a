/**
 * Ends all sessions when the server stops: messages that are being stored are acknowledged first. Wills were stopped before, so none is
 * published.
 */

import { waitAtMost } from '../deadline.ts';
import { PauseReason } from '../mqtt/receive-loop.ts';
import type { Session } from './session.ts';
import type { SessionState } from './session-state.ts';

/** The rate at which sessions end, so that their clients do not connect elsewhere all at once. */
export interface DrainOptions {
  /** Milliseconds after which the last session is told at the latest, at a higher rate if necessary. */
  readonly within: number;
  /** 0: all at once. */
  readonly sessionsPerSecond: number;
  /** Only this node stops; the clients are told to connect again to the same address. */
  readonly isNodeOnly?: boolean;
}

/** Why a session ends, and where its client is sent. */
interface ShutdownReason {
  readonly reason: 'server_shutdown' | 'node_drained';
  readonly serverReference?: string | undefined;
}

/** How long messages may take to be stored, and then how long the sessions may take to be released, in ms. */
const GRACE_MS = 5_000;

/** How long clients may take to read the last packet, in ms. */
const LAST_PACKET_MS = 1_000;

/** Between two groups of sessions that are told, in ms. */
const STEP_MS = 50;

/** `serverReference`: where clients of MQTT 5 are sent; undefined: they are told that the server stops. */
export async function endAllSessions({ sessions }: SessionState, serverReference: string | undefined): Promise<void> {
  await endSessions([...sessions.all()], { reason: 'server_shutdown', serverReference });
}

/** The same at a limited rate. Sessions whose turn has not come are served as before. */
export async function drainSessions(
  { sessions }: SessionState,
  serverReference: string | undefined,
  { within, sessionsPerSecond, isNodeOnly = false }: DrainOptions,
): Promise<void> {
  const why: ShutdownReason = isNodeOnly ? { reason: 'node_drained' } : { reason: 'server_shutdown', serverReference };
  const live = [...sessions.all()];
  const perStep = Math.max((sessionsPerSecond * STEP_MS) / 1_000, (live.length * STEP_MS) / Math.max(within, STEP_MS));
  if (sessionsPerSecond === 0) return endSessions(live, why);
  const ending: Promise<void>[] = [];
  for (let told = 0, steps = 1; told < live.length; steps += 1) {
    const next = Math.max(told, Math.ceil(steps * perStep));
    if (next > told) ending.push(endSessions(live.slice(told, next), why));
    told = next;
    if (told < live.length) await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
  await Promise.all(ending);
}

async function endSessions(ending: readonly Session[], { reason, serverReference }: ShutdownReason): Promise<void> {
  for (const session of ending) session.connection.pauseReading(PauseReason.shutdown);
  await waitAtMost(GRACE_MS, Promise.all(ending.map((session) => session.acknowledgements.whenEmpty())));
  for (const session of ending) {
    // As when the server stops: a will without a delay would be published although its client connects again at once.
    if (reason === 'node_drained' && willDelay(session) === 0) session.suppressesWill = true;
    session.end(reason, { serverReference });
  }
  await waitAtMost(GRACE_MS, Promise.all(ending.map((session) => session.whenFinished())));
  // Clients of MQTT 5 are told why.
  await waitAtMost(LAST_PACKET_MS, Promise.all(ending.map((session) => session.connection.whenClosed())));
}

/** Seconds that a will waits for its client to come back. */
function willDelay({ connectPacket, sessionExpiryInterval }: Session): number {
  return Math.min(connectPacket.will?.delayInterval ?? 0, sessionExpiryInterval);
}
