import type { IdentityStore, StoredIdentity } from '@rollcall/device-sdk';
import type { Theft } from './drill-options.ts';
import type { StolenCa } from './forged-certificates.ts';
import { ImpostorServer } from './impostor-server.ts';

/** Devices of the fleet that are sent to the thief, at most; they go one after the other. */
const SENT_MAX = 50;

export interface StolenKeyOptions {
  /** What was expected and what was found is added to it. */
  readonly failures: string[];
  readonly signal: AbortSignal;
  readonly now: () => number;
}

export async function loadIdentities(stores: readonly IdentityStore[]): Promise<readonly StoredIdentity[]> {
  const identities = await Promise.all(stores.slice(0, SENT_MAX).map((store) => store.load()));
  return identities.filter((identity) => identity !== undefined);
}

export async function testStolenKey(
  stolen: StolenCa,
  devices: { readonly aware: readonly StoredIdentity[]; readonly unaware: StoredIdentity | undefined },
  { failures, signal, now }: StolenKeyOptions,
): Promise<readonly [Theft, string]> {
  const thief = await ImpostorServer.open(stolen, now());
  try {
    let captured = 0;
    for (const identity of devices.aware) {
      const { hasConnected, isCaptured } = await thief.connectDevice(identity, signal);
      if (hasConnected || isCaptured) captured += 1;
    }
    const left = devices.unaware && (await thief.connectDevice(devices.unaware, signal));
    const theft: Theft = {
      aware: { tempted: devices.aware.length, captured },
      unaware: {
        tempted: left === undefined ? 0 : 1,
        believed: left?.hasConnected === true ? 1 : 0,
        captured: left?.isCaptured === true ? 1 : 0,
      },
    };
    if (captured > 0) failures.push(`devices that a thief of the old key captured: expected 0, found ${captured}`);
    if (theft.unaware.captured > 0)
      failures.push('expected a device that saw nothing to keep its roots, found those of the thief');
    return [theft, `${captured} of ${theft.aware.tempted} devices captured`];
  } finally {
    thief.close();
  }
}
