/**
 * How much of the journal a device and a group may fill in one day (UTC). Counts after the commit, so that a name costs one
 * look-up in a map, and says which are held: over their share, or, near the disk's floor, over what is left of it. Shares shrink
 * with the space above the floor, so the largest are held first.
 */

import { propertiesLength } from '../storage/index.ts';
import { type DayCounts, type DayUsage, ShareLedger, type ShareUsage, type Use } from './share-ledger.ts';
import type { TelemetryMessage } from './telemetry.ts';

/** Bytes per day; 0 means no share. */
export interface ShareLimits {
  readonly device: number;
  readonly group: number;
}

/** One name that is over its share, reported once a day. */
export interface ShareOverrun {
  readonly at: number;
  readonly kind: 'device' | 'group';
  readonly name: string;
  /** Stored today. */
  readonly storedBytes: number;
  /** Allowed at this moment. */
  readonly shareBytes: number;
  /** `disk`: within its share, and held because the disk is near its floor. */
  readonly cause: 'share' | 'disk';
}

export interface ShareListener {
  /** Results of `isHeld()` changed: for this device alone, or for any number of them. */
  changed?(device: string | undefined): void;
  exceeded?(found: ShareOverrun): void;
}

export interface ShareReport {
  /** Begin of the day, UTC, milliseconds since the epoch. */
  readonly since: number;
  readonly isCounted: boolean;
  readonly devices: readonly DayUsage[];
  readonly groups: readonly DayUsage[];
  /** Bytes that a device, or a group, may store today; 0: any number. */
  readonly deviceShare: number;
  readonly groupShare: number;
}

export interface HeldNames {
  readonly devices: readonly string[];
  readonly groups: readonly string[];
}

/** What was stored on one day, as it is saved and read again after a restart. */
export interface SavedShares {
  readonly day: number;
  readonly devices: readonly ShareUsage[];
  readonly groups: readonly ShareUsage[];
}

/** What a message takes in the journal besides payload, MQTT 5 properties, stream and key: measured with short messages. */
const MESSAGE_BYTES = 32;
/** A row of its own for a key. */
const KEY_BYTES = 64;

const MAX_SAVED = 1_000;
/** Reports per update: when the disk is nearly full all are held, and the largest are reported. */
const MAX_REPORTED = 20;
const DAY_MS = 86_400_000;

export class StorageShares {
  readonly #devices: ShareLedger;
  readonly #groups: ShareLedger;
  readonly #now: () => number;
  readonly #listeners = new Set<ShareListener>();
  #day: number;
  /** How much of each share counts: 1 with room on the disk, 0 at its floor. */
  #factor = 1;
  #isDirty = false;

  constructor(limits: ShareLimits, now: () => number, saved?: SavedShares) {
    this.#devices = new ShareLedger(limits.device);
    this.#groups = new ShareLedger(limits.group);
    this.#now = now;
    this.#day = dayNumber(now());
    if (saved?.day !== this.#day) return;
    this.#devices.clear(saved.devices);
    this.#groups.clear(saved.groups);
    this.#decideAgain();
  }

  /** Whether the next message of this device has to wait. */
  isHeld(device: string, group: string | undefined): boolean {
    return (
      this.#devices.use(device)?.isHeld === true || (group !== undefined && this.#groups.use(group)?.isHeld === true)
    );
  }

  /** Returns a function that removes the listener. */
  listen(listener: ShareListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Bytes that a device may store in a day; 0: any number. */
  get deviceShare(): number {
    return this.#devices.limit;
  }

  /** Whether anything is counted: there is a share for devices or for groups. */
  get isCounted(): boolean {
    return this.#devices.limit > 0 || this.#groups.limit > 0;
  }

  /** Counts stored messages, except those with these indices. */
  stored(messages: readonly TelemetryMessage<string>[], repeated: readonly number[]): void {
    if (!this.isCounted) return;
    this.#turnDay();
    const again = repeated.length === 0 ? undefined : new Set(repeated);
    for (let i = 0; i < messages.length; i += 1) {
      if (again?.has(i)) continue;
      const message = messages[i] as TelemetryMessage<string>;
      const bytes = bytesInJournal(message);
      this.#count('device', message.device, bytes, 1);
      if (message.group !== undefined) this.#count('group', message.group, bytes, 1);
    }
  }

  /** Counts what was stored elsewhere. */
  storedBy(devices: readonly DayCounts[], groups: readonly DayCounts[]): void {
    if (!this.isCounted) return;
    this.#turnDay();
    for (const { name, bytes, messages } of devices) this.#count('device', name, bytes, messages);
    for (const { name, bytes, messages } of groups) this.#count('group', name, bytes, messages);
  }

  /** Everything that is held now. */
  heldNames(): HeldNames {
    return { devices: this.#devices.heldNames(), groups: this.#groups.heldNames() };
  }

  /** Once a second: the day may have ended, and the free space changed. `floor` 0: not monitored. */
  update(free: number | undefined, floor: number): void {
    this.#turnDay();
    const factor = free === undefined || floor === 0 ? 1 : Math.min(1, Math.max(0, (free - floor) / floor));
    if (factor === this.#factor) return;
    this.#factor = factor;
    if (this.#decideAgain()) this.#notifyChanged(undefined);
  }

  counters(): { readonly heldDevices: number; readonly heldGroups: number } {
    return { heldDevices: this.#devices.held, heldGroups: this.#groups.held };
  }

  /** Devices that stored most today. */
  largest(most: number): readonly ShareUsage[] {
    return this.#devices.largest(most);
  }

  /** Devices and groups that stored most today, and what each may store; without any share nothing is counted. */
  today(most: number, by: 'bytes' | 'messages'): ShareReport {
    this.#turnDay();
    const allowed = ({ limit }: ShareLedger) => Math.floor(limit * this.#factor);
    return {
      since: this.#day * DAY_MS,
      isCounted: this.isCounted,
      devices: this.#devices.largest(most, 0, by),
      groups: this.#groups.largest(most, 0, by),
      deviceShare: allowed(this.#devices),
      groupShare: allowed(this.#groups),
    };
  }

  /** What to save, if anything changed since the last call: the largest, above a hundredth of their share. */
  takeChanges(): SavedShares | undefined {
    if (!this.#isDirty) return undefined;
    this.#isDirty = false;
    return {
      day: this.#day,
      devices: this.#devices.largest(MAX_SAVED, this.#devices.limit / 100),
      groups: this.#groups.largest(MAX_SAVED),
    };
  }

  #count(kind: ShareOverrun['kind'], name: string, bytes: number, messages: number): void {
    this.#isDirty = true;
    const ledger = kind === 'device' ? this.#devices : this.#groups;
    if (ledger.add(name, bytes, messages, ledger.limit * this.#factor)) this.#reportHeld(kind, name);
  }

  #turnDay(): void {
    const day = dayNumber(this.#now());
    if (day === this.#day) return;
    this.#day = day;
    this.#isDirty = true;
    const wereHeld = this.#devices.held + this.#groups.held > 0;
    this.#devices.clear();
    this.#groups.clear();
    if (wereHeld) this.#notifyChanged(undefined);
  }

  #reportHeld(kind: ShareOverrun['kind'], name: string): void {
    const ledger = kind === 'device' ? this.#devices : this.#groups;
    this.#report(kind, name, ledger.use(name) as Use);
    this.#notifyChanged(kind === 'device' ? name : undefined);
  }

  #decideAgain(): boolean {
    let isChanged = false;
    for (const kind of ['device', 'group'] as const) {
      const ledger = kind === 'device' ? this.#devices : this.#groups;
      const found = ledger.decideAgain(ledger.limit * this.#factor);
      isChanged ||= found.isChanged;
      const largest = found.unreported.sort(([, one], [, other]) => other.bytes - one.bytes).slice(0, MAX_REPORTED);
      for (const [name, use] of largest) this.#report(kind, name, use);
    }
    return isChanged;
  }

  #report(kind: ShareOverrun['kind'], name: string, use: Use): void {
    if (use.isReported) return;
    use.isReported = true;
    const { limit } = kind === 'device' ? this.#devices : this.#groups;
    const shareBytes = Math.floor(limit * this.#factor);
    const cause = use.bytes > limit ? 'share' : 'disk';
    const found: ShareOverrun = { at: this.#now(), kind, name, storedBytes: use.bytes, shareBytes, cause };
    for (const listener of this.#listeners) listener.exceeded?.(found);
  }

  #notifyChanged(device: string | undefined): void {
    for (const listener of this.#listeners) listener.changed?.(device);
  }
}

/** Bytes of the journal that a message is counted with. */
export function bytesInJournal(message: TelemetryMessage<string>): number {
  const { stream, key, payload } = message;
  const keyBytes = key === undefined ? 0 : key.length + KEY_BYTES;
  return payload.byteLength + propertiesLength(message) + stream.length + MESSAGE_BYTES + keyBytes;
}

function dayNumber(time: number): number {
  return Math.floor(time / DAY_MS);
}
