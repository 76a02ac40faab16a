/** Opens the parts of a device: clock, identity, message queue, command ledger and twin file. */

import { join } from 'node:path';
import { type CommandLedger, FileCommandLedger, memoryCommandLedger } from './command-ledger.ts';
import { DeviceClock, fileClockStore, memoryClockStore, SKEW_TOLERATED_MS } from './device-clock.ts';
import { asDeviceError } from './device-error.ts';
import { checkSettings, type DeviceOptions, type DeviceSettings } from './device-options.ts';
import { SILENT_LOG } from './device-state.ts';
import { enroll, loadIdentity } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import { type JsonFile, jsonFile, memoryJson } from './json-file.ts';
import { openOutbox } from './open-outbox.ts';
import type { Outbox } from './outbox.ts';
import { realTimers, uptime } from './schedule.ts';

export type CompleteSettings = DeviceSettings & Required<Pick<DeviceSettings, 'random' | 'schedule' | 'log'>>;

export interface DeviceParts {
  readonly settings: CompleteSettings;
  readonly store: IdentityStore;
  readonly identity: StoredIdentity;
  readonly outbox: Outbox;
  readonly clock: DeviceClock;
  readonly ledger: CommandLedger;
  readonly twinFile: JsonFile;
}

/** Enrolls if there is no identity yet. Rejects with a DeviceError. */
export async function openParts(options: DeviceOptions): Promise<DeviceParts> {
  checkSettings(options);
  const { random = Math.random, schedule = realTimers, log = SILENT_LOG, dataDir } = options;
  const store = options.store ?? fileIdentityStore(options.dataDir);
  const clock = await openClock(options);
  const settings = { ...options, random, schedule, log, clock };
  let identity: StoredIdentity;
  try {
    identity = (await loadIdentity(store, settings)) ?? (await enrollFirst(store, settings));
  } catch (error) {
    await clock.persist(); // a refusal has the server's time as well
    throw error;
  }
  return {
    ...{ settings, store, identity, clock },
    outbox: openOutbox(options, { deviceId: identity.deviceId, now: clock.now, schedule, log }),
    ledger: dataDir === undefined ? memoryCommandLedger() : new FileCommandLedger(join(dataDir, 'commands.log')),
    twinFile: dataDir === undefined ? memoryJson() : jsonFile(join(dataDir, 'twin.json'), 0o600),
  };
}

/** Reports the states of the first enrollment to `onState`. */
async function enrollFirst(store: IdentityStore, options: DeviceSettings): Promise<StoredIdentity> {
  options.onState?.('unenrolled', undefined, 'no identity');
  if (options.token !== undefined) options.onState?.('enrolling', undefined, 'token given');
  try {
    return await enroll(store, options);
  } catch (thrown) {
    const error = asDeviceError(thrown, 'internal');
    options.onState?.('unenrolled', error, 'not enrolled');
    throw error;
  }
}

async function openClock({ dataDir, now = Date.now, log = SILENT_LOG }: DeviceOptions): Promise<DeviceClock> {
  const store = dataDir === undefined ? memoryClockStore() : fileClockStore(join(dataDir, 'clock.json'));
  const learnt = (skew: number) => {
    if (Math.abs(skew) > SKEW_TOLERATED_MS) log.warn({ skew }, 'the clock of this device is wrong');
  };
  return DeviceClock.open({ store, now, uptime, learnt });
}
