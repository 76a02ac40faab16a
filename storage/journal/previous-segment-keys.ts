/** Which keys devices have sent in the newest closed segment, the one before the segment being written. */

import type Database from 'better-sqlite3';
import { openDatabaseToRead } from '../database-file.ts';
import { isDamage } from '../storage-problem.ts';
import { CountedKeys, countedKey } from './counted-keys.ts';
import type { SegmentName } from './segment-names.ts';

interface Older {
  readonly database: Database.Database;
  readonly findDevice: Database.Statement;
  readonly findKey: Database.Statement;
  /** Undefined in files of versions without counted keys. */
  readonly counted: CountedKeys | undefined;
  /** Device numbers in that segment; undefined for devices that are not in it. */
  readonly devices: Map<string, number | undefined>;
}

export class PreviousSegmentKeys {
  #older: Older | undefined;

  /** Switches to this segment, or to none. A segment that can't be read has no keys; its readers report the damage. */
  open(name: SegmentName | undefined): void {
    this.close();
    if (name === undefined) return;
    let database: Database.Database | undefined;
    try {
      database = openDatabaseToRead(name.file);
      this.#older = {
        database,
        findDevice: database.prepare('SELECT id FROM devices WHERE name = ?').pluck(),
        findKey: database.prepare('SELECT 1 FROM message_keys WHERE device = ? AND key = ?'),
        counted: hasCounted(database) ? new CountedKeys(database) : undefined,
        devices: new Map(),
      };
    } catch (error) {
      database?.close();
      if (!isDamage(error)) throw error;
    }
  }

  has(name: string, key: string): boolean {
    const older = this.#older;
    const device = older && deviceOf(older, name);
    if (older === undefined || device === undefined) return false;
    const counted = older.counted && countedKey(key);
    return counted === undefined
      ? older.findKey.get(device, key) !== undefined
      : older.counted?.has(device, counted) === true;
  }

  close(): void {
    this.#older?.database.close();
    this.#older = undefined;
  }
}

function hasCounted(database: Database.Database): boolean {
  return database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'counted_keys'").get() !== undefined;
}

function deviceOf({ devices, findDevice }: Older, name: string): number | undefined {
  if (devices.has(name)) return devices.get(name);
  const device = findDevice.get(name) as number | undefined;
  devices.set(name, device);
  return device;
}
