/** Copies a journal from a data directory to a shared store, and back. */

import { Problem } from '@rollcall/protocol';
import { hasTables, type PostgresDatabase } from '../../storage/postgres/index.ts';
import type { Cursor } from '../cursor.ts';
import { positionOf } from '../position.ts';
import { type JournalName, journalTables, named } from '../postgres/tables.ts';
import { compareJournals, type JournalDigest } from './copied-message.ts';
import { FileJournalSource, FileJournalTarget } from './file-journal.ts';
import { isOfFirstLane, LaneSource } from './lane-source.ts';
import { hasLanes, LaneTarget } from './lane-target.ts';

export { hasLanes };

export interface JournalCopy {
  /** Of the journal in the data directory. */
  readonly directory: string;
  readonly database: PostgresDatabase;
  readonly journal: JournalName;
  /** Messages so far, for progress. */
  readonly copied: (messages: number) => void;
  readonly compared: (messages: number) => void;
}

/** Goes on where an earlier copy ended. `now`: milliseconds since the epoch. Returns the files that cannot be read. */
export async function copyJournalToLanes(
  { directory, database, journal, copied }: JournalCopy,
  now: number,
): Promise<readonly string[]> {
  const source = new FileJournalSource(directory);
  try {
    const target = await LaneTarget.open(database, journal);
    if (target.newest > source.newest) {
      throw new Problem('store_differs', {
        reason: `expected messages up to position ${source.newest} at most, found ${target.newest}: the source is older`,
      });
    }
    let messages = 0;
    for await (const page of source.pages(target.newest)) {
      await target.write(page);
      messages += page.length;
      copied(messages);
    }
    await target.close();
    if (target.newest > 0) await target.writeKeys(source.pages(source.keysFrom - 1), now);
    return source.damaged;
  } finally {
    source.close();
  }
}

/** Throws Problem `store_differs`. */
export async function compareJournalWithLanes(copy: JournalCopy): Promise<JournalDigest> {
  const { directory, database, journal, compared } = copy;
  const source = new FileJournalSource(directory);
  try {
    const target = await LaneSource.open(database, journal);
    return await compareJournals(source.pages(), target.pages(), 'positions', compared);
  } finally {
    source.close();
  }
}

/** A cursor of a reader of the lanes becomes the position of one of the file. */
export type TranslatedCursors = ReadonlyMap<string, number>;

/**
 * Into a directory without a journal. Positions of lane 0 stay what they are up to the first message of another lane or the first gap; all
 * others are greater than each that lane 0 ever gave. So no message is before a cursor that has not read it. `cursors`: of readers, by
 * name; each becomes the last position before the first message that its reader lacks.
 */
export async function copyLanesToJournal(
  { directory, database, journal, copied }: JournalCopy,
  cursors: ReadonlyMap<string, Cursor>,
): Promise<TranslatedCursors> {
  const source = await LaneSource.open(database, journal);
  const newest = await source.newestOfFirstLane();
  const target = new FileJournalTarget(directory);
  const lacking = new Map<string, number>();
  const waiting = new Map(cursors);
  let hasOldPositions = true;
  let messages = 0;
  try {
    for await (const page of source.pages()) {
      for (const message of page) {
        const isFirst = messages === 0 && isOfFirstLane(message);
        if (isFirst) target.leaveOutUpTo(message.position, message.receivedAt);
        if (hasOldPositions && message.position !== target.next) {
          hasOldPositions = false;
          target.leaveOutUpTo(Math.max(newest + 1, target.next), message.receivedAt);
        }
        const position = target.add(message);
        messages += 1;
        for (const [name, cursor] of waiting) {
          if (cursor.has(positionOf(message.position))) continue;
          lacking.set(name, position - 1);
          waiting.delete(name);
        }
      }
      copied(messages);
    }
    for (const name of waiting.keys()) lacking.set(name, target.next - 1);
    return lacking;
  } finally {
    target.close();
  }
}

/** Throws Problem `store_differs`. */
export async function compareLanesWithJournal(copy: JournalCopy): Promise<JournalDigest> {
  const { directory, database, journal, compared } = copy;
  const source = await LaneSource.open(database, journal);
  const target = new FileJournalSource(directory);
  try {
    return await compareJournals(source.pages(), target.pages(), 'order', compared);
  } finally {
    target.close();
  }
}

/** As the days have counted them. Changes nothing. */
export async function countLaneMessages(database: PostgresDatabase, journal: JournalName): Promise<number> {
  if (!(await hasTables(database, journalTables(journal)))) return 0;
  const sql = named('SELECT coalesce(sum(messages), 0)::bigint AS messages FROM NAME_days', journal);
  return (await database.query<{ readonly messages: number }>(sql)).rows[0]?.messages ?? 0;
}

/** Of a journal in a data directory, which a server may write. */
export function countFileMessages(directory: string): number {
  const source = new FileJournalSource(directory);
  try {
    return source.messages;
  } finally {
    source.close();
  }
}
