/** What opening a journal would refuse, found before anything is changed. Damage is no reason: such a segment is set aside. */

import { existsSync } from 'node:fs';
import { expectNotOlder, inspectDatabaseFile, isDamage, listSegments, SEGMENT } from '../storage/index.ts';

/** Throws Problem `data_directory_unusable`, `database_older` or `database_newer`, and changes nothing. */
export function inspectTelemetry(directory: string): void {
  if (!existsSync(directory)) return;
  for (const { file } of listSegments(directory)) {
    try {
      inspectDatabaseFile({ file, kind: SEGMENT, check: 'header', expect: expectNotOlder });
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
  }
}
