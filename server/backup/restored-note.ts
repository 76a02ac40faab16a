/**
 * A file in a restored data directory, removed by the first start of a server. The server then warns that revocations after the
 * backup are missing, and records the restore in the audit.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

export const RESTORED_NOTE = 'restored.json';

const noteSchema = z.object({ takenAt: z.iso.datetime(), restoredAt: z.iso.datetime() });

export type RestoredNote = z.infer<typeof noteSchema>;

/** Undefined when the directory was not restored, or a server has started since. */
export function readRestoredNote(data: string): RestoredNote | undefined {
  try {
    return noteSchema.parse(JSON.parse(readFileSync(join(data, RESTORED_NOTE), 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function removeRestoredNote(data: string): void {
  rmSync(join(data, RESTORED_NOTE), { force: true });
}
