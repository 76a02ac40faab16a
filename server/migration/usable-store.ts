/** Whether a server may use a store: not one whose fleet has moved to another, nor one into which a fleet is moving. */

import { Problem } from '@rollcall/protocol';
import { LeaseTable, type PostgresDatabase, readStoreNote, type StoreNote } from '../../storage/postgres/index.ts';
import { readDirectoryNote } from './directory-note.ts';

/** Held by the process that moves a fleet from a shared store or to it. */
export const MIGRATION_LEASE = 'migration';

/** Throws Problem `store_moved` or `store_unfinished`. */
export function expectUsableDirectory(directory: string): void {
  expectUsable(readDirectoryNote(directory));
}

/** To be called with the lease of the node. Throws Problem `store_moved`, `store_unfinished`, or `store_in_use` by a migration. */
export async function expectUsableSharedStore(database: PostgresDatabase, node: string, now: () => number) {
  expectUsable(await readStoreNote(database));
  const [lease] = await new LeaseTable({ database, node, now }).read([`single/${MIGRATION_LEASE}`]);
  if (lease?.node === undefined || lease.readAt - lease.renewedAt > lease.duration) return;
  throw new Problem('store_in_use', {
    reason: `a migration reads or writes it, by ${lease.node}`,
    hint: 'start this node when the migration has ended',
  });
}

export function expectUsable(note: StoreNote | undefined): void {
  if (note === undefined) return;
  if (note.state === 'moved') throw movedTo(note);
  throw new Problem('store_unfinished', {
    reason: `a migration from ${note.other}`,
    hint: 'run "rollcall migrate" again, which goes on with it',
  });
}

export function movedTo({ other, at }: StoreNote): Problem {
  return new Problem('store_moved', {
    reason: `to ${other} at ${new Date(at).toISOString()}`,
    hint: 'start the server with the setting store.url of that store',
  });
}
