/** All sessions in the file of a data directory, for a copy to another store or from one. No server has the file open. */

import { existsSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openDatabaseToRead } from '../../storage/index.ts';
import { changesOfRows } from './copied-sessions.ts';
import { createChangeWriter, type SessionChange } from './session-changes.ts';
import { openSessionFile } from './session-file.ts';
import { readSessionRows, type SessionRows } from './session-rows.ts';

/** Changes in one commit. */
const CHANGES_AT_ONCE = 10_000;

/** Creates the file when there is none. Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export function readSessionFile(file: string): SessionRows {
  const database = openSessionFile(file, 'every page');
  try {
    return readSessionRows(database);
  } finally {
    database.close();
  }
}

/** The rows of a file that a server may have open. Changes nothing; undefined when there is no file. */
export function peekSessionFile(file: string): SessionRows | undefined {
  if (!existsSync(file)) return undefined;
  const database = openDatabaseToRead(file);
  try {
    return readSessionRows(database);
  } finally {
    database.close();
  }
}

/** Into a file that is not there yet. Other work has its turn between two commits. */
export async function writeSessionFile(file: string, rows: SessionRows): Promise<void> {
  const database = openSessionFile(file, 'every page');
  try {
    const write = createChangeWriter(database);
    let changes: SessionChange[] = [];
    for (const change of changesOfRows(rows, (place) => place)) {
      changes.push(change);
      if (changes.length < CHANGES_AT_ONCE) continue;
      write(changes);
      changes = [];
      await nextTurn();
    }
    write(changes);
  } finally {
    database.close();
  }
}
