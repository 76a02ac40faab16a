/**
 * What a restored data directory says of itself until its server has started once: a fleet that was set back must not look as if
 * nothing had happened, since what was revoked after the backup is not revoked in it.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

export const RESTORED_NOTE = 'restored.json';

const noteSchema = z.object({ takenAt: z.iso.datetime(), restoredAt: z.iso.datetime() });

export type RestoredNote = z.infer<typeof noteSchema>;

/** Undefined for a directory that was not restored, or has served since. */
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
