/** Ends all sessions when the server stops: messages that are being stored are acknowledged first. Wills were stopped before, so none is published. */

import { waitAtMost } from '../deadline.ts';
import { PauseReason } from '../mqtt/receive-loop.ts';
import type { SessionState } from './session-state.ts';

/** How long messages may take to be stored, and then how long the sessions may take to be released, in ms. */
const GRACE_MS = 5_000;

/** How long clients may take to read the last packet, in ms. */
const LAST_PACKET_MS = 1_000;

/** `serverReference`: where clients of MQTT 5 are sent; undefined: they are told that the server stops. */
export async function endAllSessions({ sessions }: SessionState, serverReference: string | undefined): Promise<void> {
  const live = [...sessions.all()];
  for (const session of live) session.connection.pauseReading(PauseReason.shutdown);
  await waitAtMost(GRACE_MS, Promise.all(live.map((session) => session.acknowledgements.whenEmpty())));
  for (const session of live) session.end('server_shutdown', { serverReference });
  await waitAtMost(GRACE_MS, Promise.all(live.map((session) => session.whenFinished())));
  // Clients of MQTT 5 are told why.
  await waitAtMost(LAST_PACKET_MS, Promise.all(live.map((session) => session.connection.whenClosed())));
}
