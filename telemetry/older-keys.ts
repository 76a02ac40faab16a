/** Which keys devices have sent to the segment before the one that is written: the newest that rests. */

import Database from 'better-sqlite3';
import { isDamage } from '../sqlite/storage-problem.ts';
import type { SegmentName } from './segments.ts';

export class OlderKeys {
  #database: Database.Database | undefined;
  #find: Database.Statement | undefined;

  /** From now on of this segment; of none when there is none. One that can't be read knows no keys; its readers will say so. */
  open(name: SegmentName | undefined): void {
    this.close();
    if (name === undefined) return;
    try {
      this.#database = new Database(name.file, { readonly: true, fileMustExist: true });
      this.#find = this.#database.prepare(
        'SELECT 1 FROM message_keys WHERE device = (SELECT id FROM devices WHERE name = ?) AND key = ?',
      );
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
  }

  knew(device: string, key: string): boolean {
    return this.#find?.get(device, key) !== undefined;
  }

  close(): void {
    this.#database?.close();
    this.#database = undefined;
    this.#find = undefined;
  }
}
