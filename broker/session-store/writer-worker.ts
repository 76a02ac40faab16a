/** The worker that writes session changes: an fsync must not hold up the event loop of the broker. */

import type Database from 'better-sqlite3';
import { answerCalls, storageProblem } from '../../storage/index.ts';
import { createChangeWriter, type SessionChange } from './session-changes.ts';
import { openSessionFile } from './session-file.ts';

let database: Database.Database | undefined;
let write: ((changes: readonly SessionChange[]) => void) | undefined;

answerCalls({
  open: (file: string) => {
    database = openSessionFile(file, 'header');
    write = createChangeWriter(database);
    return undefined;
  },
  write: (changes: readonly SessionChange[]) => {
    try {
      write?.(changes);
    } catch (error) {
      throw storageProblem(error);
    }
    return undefined;
  },
  close: () => {
    database?.close();
    return undefined;
  },
});
