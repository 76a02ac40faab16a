import type { IdentityStore, StoredIdentity } from '@rollcall/device-sdk';
import type { Theft } from './drill-options.ts';
import type { StolenCa } from './forged-certificates.ts';
import { Thief } from './thief.ts';

/** Devices of the fleet that are sent to the thief, at most; they go one after the other. */
const SENT_MAX = 50;

export interface TheftOptions {
  /** What was expected and what was found is added to it. */
  readonly failures: string[];
  readonly signal: AbortSignal;
  readonly now: () => number;
}

export async function identitiesIn(stores: readonly IdentityStore[]): Promise<readonly StoredIdentity[]> {
  const identities = await Promise.all(stores.slice(0, SENT_MAX).map((store) => store.load()));
  return identities.filter((identity) => identity !== undefined);
}

export async function sendToThief(
  stolen: StolenCa,
  devices: { readonly aware: readonly StoredIdentity[]; readonly unaware: StoredIdentity | undefined },
  { failures, signal, now }: TheftOptions,
): Promise<readonly [Theft, string]> {
  const thief = await Thief.open(stolen, now());
  try {
    let captured = 0;
    for (const identity of devices.aware) {
      const { hasBelieved, isCaptured } = await thief.tempt(identity, signal);
      if (hasBelieved || isCaptured) captured += 1;
    }
    const left = devices.unaware && (await thief.tempt(devices.unaware, signal));
    const theft: Theft = {
      aware: { tempted: devices.aware.length, captured },
      unaware: {
        tempted: left === undefined ? 0 : 1,
        believed: left?.hasBelieved === true ? 1 : 0,
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
