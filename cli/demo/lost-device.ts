/** The loss of a device: it is revoked, and what becomes of it is measured. */

import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import type { ConsoleClient } from '../../console/client.ts';
import type { DeviceReport } from '../../simulator/index.ts';
import type { DemoFleet } from './demo-fleet.ts';

/** From the last connection to the revocation: long enough to watch the table. */
const REVOKE_AFTER_MS = 4_000;
/** For the lost device to notice and to be refused once more. */
const REFUSAL_WAIT_MS = 10_000;

export interface LostDevice {
  readonly id: string;
  /** Milliseconds from the command to its return, to the end of the session, and to the refusal of the next connection. */
  readonly answered: number;
  readonly disconnected: number | undefined;
  readonly refused: number | undefined;
  readonly sessionsClosed: number;
}

/** Resolves with false when the fleet ends before every device was connected and a moment has passed. */
export async function untilWatched(fleet: DemoFleet): Promise<boolean> {
  let hasEnded = false;
  const ended = fleet.done.then(() => {
    hasEnded = true;
  });
  await Promise.race([fleet.allConnected, ended]);
  await Promise.race([delay(REVOKE_AFTER_MS, undefined, { ref: false }), ended]);
  return !hasEnded;
}

/** Revokes a connected device, and waits until it was refused, the fleet ends, or ten seconds have passed. */
export async function revokeOne(
  fleet: DemoFleet,
  id: string,
  operator: Pick<ConsoleClient, 'revokeDevices'>,
  onRevoked: () => void,
): Promise<LostDevice> {
  const began = Date.now();
  const refused = fleet.refused(id);
  const { sessionsClosed } = await operator.revokeDevices({ ids: [id as DeviceId], reason: 'keyCompromise' });
  const answered = Date.now() - began;
  onRevoked();
  await Promise.race([refused, fleet.done, delay(REFUSAL_WAIT_MS, undefined, { ref: false })]);
  const after = fleet.devices().find((device) => device.id === id) as DeviceReport;
  return {
    id,
    answered,
    sessionsClosed,
    disconnected: after.lostAt === undefined ? undefined : after.lostAt - began,
    refused: after.state === 'connection refused' ? after.since - began : undefined,
  };
}
