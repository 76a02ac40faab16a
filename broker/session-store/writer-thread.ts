/** The thread that writes what is kept between connections: an fsync must not hold up the event loop of the broker. */

import { parentPort } from 'node:worker_threads';
import { asProblem } from '@rollcall/protocol';
import type Database from 'better-sqlite3';
import { storageProblem } from '../../storage/index.ts';
import { createChangeWriter, type SessionChange } from './session-changes.ts';
import { openSessionFile } from './session-file.ts';
import type { WriterAnswer, WriterCall } from './writer.ts';

let database: Database.Database | undefined;
let write: ((changes: readonly SessionChange[]) => void) | undefined;

function perform(call: WriterCall): void {
  if (call.name === 'open') {
    database = openSessionFile(call.file, 'header');
    write = createChangeWriter(database);
  } else if (call.name === 'write') write?.(call.changes);
  else database?.close();
}

const port = parentPort;
if (port === null) throw new Error('expected to run in a worker thread, found none');
port.on('message', (call: WriterCall) => {
  try {
    perform(call);
    port.postMessage({ id: call.id } satisfies WriterAnswer);
  } catch (error) {
    const { code, reason, hint } = asProblem(storageProblem(error));
    const problem = { code, ...(reason !== undefined && { reason }), ...(hint !== undefined && { hint }) };
    port.postMessage({ id: call.id, problem } satisfies WriterAnswer);
  }
});
