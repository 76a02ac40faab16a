/**
 * How much of the journal a device and a group may fill in one day (UTC). Counts after the commit, so that a name costs one
 * look-up in a map, and says which are held: over their share, or, near the disk's floor, over what is left of it. Shares shrink
 * with the space above the floor, so the largest are held first. Counts at most `MAX_NAMES` names and evicts the smallest beyond.
 */

import { propertiesLength } from '../storage/index.ts';
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

export interface ShareUsage {
  readonly name: string;
  readonly bytes: number;
  /** Absent in what an earlier version saved. */
  readonly messages?: number;
}

/** What a name stored today. */
export interface DayUsage extends Required<ShareUsage> {
  readonly isHeld: boolean;
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

const MAX_NAMES = 100_000;
const MAX_SAVED = 1_000;
/** Reports per update: when the disk is nearly full all are held, and the largest are reported. */
const MAX_REPORTED = 20;
/** A held name is released below this part of its share, so that it is not held and released in turns. */
const RELEASE_FACTOR = 0.95;

const DAY_MS = 86_400_000;

interface Use {
  bytes: number;
  messages: number;
  isHeld: boolean;
  isReported: boolean;
}

class Ledger {
  readonly limit: number;
  #uses = new Map<string, Use>();
  held = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** True when it is over what is allowed, and was not before. */
  add(name: string, bytes: number, allowed: number): boolean {
    const use = this.#uses.get(name) ?? this.#begin(name);
    use.bytes += bytes;
    use.messages += 1;
    if (this.limit === 0 || use.isHeld || use.bytes <= allowed) return false;
    use.isHeld = true;
    this.held += 1;
    return true;
  }

  use(name: string): Use | undefined {
    return this.#uses.get(name);
  }

  /** Decides again for every name. Returns whether any decision changed, and those held that were not reported. */
  decideAgain(allowed: number): { readonly isChanged: boolean; readonly unreported: [string, Use][] } {
    const unreported: [string, Use][] = [];
    let isChanged = false;
    if (this.limit === 0) return { isChanged, unreported };
    for (const entry of this.#uses) {
      const use = entry[1];
      const isHeld = use.bytes > (use.isHeld ? allowed * RELEASE_FACTOR : allowed);
      if (isHeld !== use.isHeld) {
        use.isHeld = isHeld;
        this.held += isHeld ? 1 : -1;
        isChanged = true;
      }
      if (isHeld && !use.isReported) unreported.push(entry);
    }
    return { isChanged, unreported };
  }

  /** Without a sort of all names: most of a hundred thousand are not among the largest. */
  largest(most: number, atLeast = 0, by: 'bytes' | 'messages' = 'bytes'): DayUsage[] {
    const found: DayUsage[] = [];
    for (const [name, use] of this.#uses) {
      const { bytes, messages, isHeld } = use;
      if (bytes <= atLeast || (found.length === most && use[by] <= (found.at(-1)?.[by] ?? 0))) continue;
      const place = firstBelow(found, use[by], by);
      found.splice(place, 0, { name, bytes, messages, isHeld });
      if (found.length > most) found.pop();
    }
    return found;
  }

  clear(saved: readonly ShareUsage[] = []): void {
    this.held = 0;
    this.#uses = new Map(
      saved.map(({ name, bytes, messages = 0 }) => [name, { bytes, messages, isHeld: false, isReported: false }]),
    );
  }

  #begin(name: string): Use {
    if (this.#uses.size >= MAX_NAMES) {
      const sizes = Float64Array.from(this.#uses.values(), ({ bytes }) => bytes).sort();
      const median = sizes[sizes.length >> 1] as number;
      for (const [light, { bytes, isHeld }] of this.#uses) {
        if (bytes <= median && !isHeld) this.#uses.delete(light);
      }
    }
    const use: Use = { bytes: 0, messages: 0, isHeld: false, isReported: false };
    this.#uses.set(name, use);
    return use;
  }
}

export class StorageShares {
  readonly #devices: Ledger;
  readonly #groups: Ledger;
  readonly #now: () => number;
  readonly #listeners = new Set<ShareListener>();
  #day: number;
  /** How much of each share counts: 1 with room on the disk, 0 at its floor. */
  #factor = 1;
  #isDirty = false;

  constructor(limits: ShareLimits, now: () => number, saved?: SavedShares) {
    this.#devices = new Ledger(limits.device);
    this.#groups = new Ledger(limits.group);
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

  /** Counts stored messages, except those with these indices. */
  stored(messages: readonly TelemetryMessage<string>[], repeated: readonly number[]): void {
    if (this.#devices.limit === 0 && this.#groups.limit === 0) return;
    this.#turnDay();
    this.#isDirty = true;
    const again = repeated.length === 0 ? undefined : new Set(repeated);
    for (let i = 0; i < messages.length; i += 1) {
      if (again?.has(i)) continue;
      const message = messages[i] as TelemetryMessage<string>;
      const { device, group, stream, key, payload } = message;
      const keyBytes = key === undefined ? 0 : key.length + KEY_BYTES;
      const bytes = payload.byteLength + propertiesLength(message) + stream.length + MESSAGE_BYTES + keyBytes;
      if (this.#devices.add(device, bytes, this.#devices.limit * this.#factor)) this.#reportHeld('device', device);
      if (group === undefined) continue;
      if (this.#groups.add(group, bytes, this.#groups.limit * this.#factor)) this.#reportHeld('group', group);
    }
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
    const allowed = ({ limit }: Ledger) => Math.floor(limit * this.#factor);
    return {
      since: this.#day * DAY_MS,
      isCounted: this.#devices.limit > 0 || this.#groups.limit > 0,
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

/** The index of the first one that is smaller; they descend. */
function firstBelow(found: readonly DayUsage[], value: number, by: 'bytes' | 'messages'): number {
  let [low, high] = [0, found.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((found[middle] as DayUsage)[by] >= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function dayNumber(time: number): number {
  return Math.floor(time / DAY_MS);
}
