/**
 * Moves the fleet of a data directory to a shared store. The directory is only read, and is locked, but for a copy of the journals alone.
 * Each step can be done again: journals go on where they ended, and all else is one transaction each. The directory says that the fleet
 * has moved before the store may be used, so that never both are.
 */

import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import {
  digestOfRows,
  hasSharedSessions,
  readSessionFile,
  readSharedSessions,
  type SessionsDigest,
  writeSharedSessions,
} from '../../broker/index.ts';
import { copyRegistry, openRegistry, PostgresRegistryRows, SqliteRegistryRows } from '../../registry/open.ts';
import { CursorFile, lockDirectory } from '../../storage/index.ts';
import {
  type PostgresDatabase,
  readCursors,
  readStoreNote,
  removeStoreNote,
  writeCursors,
  writeStoreNote,
} from '../../storage/postgres/index.ts';
import { Cursor, loadJournalCopies } from '../../telemetry/index.ts';
import { readRestoredNote } from '../backup/restored-note.ts';
import { type DataDirectory, dataDirectoryAt } from '../data-directory.ts';
import { AUDIT_POSITION_FILE } from '../events/open.ts';
import { readDirectoryNote, writeDirectoryNote } from './directory-note.ts';
import { compareRegistries, compareSessions, type MigrationOptions, type MigrationReport } from './migration.ts';
import { type SharedStoreAccess, withSharedStore } from './shared-store-access.ts';
import { expectUsable, movedTo } from './usable-store.ts';

/** The broker of a server that is alone. */
const BROKER = 'main';

export const JOURNALS = ['telemetry', 'events'] as const;

/**
 * Throws Problem `data_directory_busy` while a server uses the directory, `store_in_use`, `store_not_empty`, `store_moved`,
 * `store_unfinished`, `store_differs`, and what the stores throw.
 */
export async function moveToSharedStore(options: MigrationOptions): Promise<MigrationReport> {
  const data = dataDirectoryAt(options.config.data);
  expectFleet(data);
  const lock = options.isJournalsFirst ? undefined : lockDirectory(data.path);
  try {
    const { store } = options.config;
    return await withSharedStore({ ...options, store }, (access) => move(data, access, options));
  } finally {
    lock?.release();
  }
}

export function directoryName(path: string): string {
  return `file:${path} on ${hostname()}`;
}

async function move(
  data: DataDirectory,
  store: SharedStoreAccess,
  options: MigrationOptions,
): Promise<MigrationReport> {
  const { database, name } = store;
  const report = { from: directoryName(data.path), to: name };
  const own = readDirectoryNote(data.path);
  const found = await readStoreNote(database);
  if (own?.state === 'moved') {
    // The last step of a migration that was interrupted.
    if (found?.state !== 'receiving' || found.migration !== own.migration) throw movedTo(own);
    await removeStoreNote(database);
    return { ...report, state: 'moved', counts: {}, damaged: [] };
  }
  expectUsable(own);
  const migration = found?.state === 'receiving' && found.other === report.from ? found.migration : randomUUID();
  if (found?.migration !== migration) {
    await expectEmpty(database, found !== undefined);
    await writeStoreNote(database, { state: 'receiving', migration, other: report.from, at: options.now() });
  }
  const damaged = await copyJournals(data, database, options);
  if (options.isJournalsFirst) return { ...report, state: 'journals copied', counts: {}, damaged };
  const counts = await copyAndCompare(data, database, options);
  store.expectHeld();
  writeDirectoryNote(data.path, { state: 'moved', migration, other: name, at: options.now() });
  await removeStoreNote(database);
  return { ...report, state: 'moved', counts, damaged };
}

/** Throws Problem `data_directory_unusable` for a directory without a fleet, or one that was restored and has not been served since. */
function expectFleet(data: DataDirectory): void {
  if (!existsSync(data.registryFile)) {
    throw new Problem('data_directory_unusable', {
      reason: `${data.path}: expected the stores of a fleet, found none`,
    });
  }
  if (readRestoredNote(data.path) === undefined) return;
  throw new Problem('data_directory_unusable', {
    reason: `${data.path}: it was restored from a backup, and no server has started since`,
    hint: 'start the server once, and stop it',
  });
}

async function expectEmpty(database: PostgresDatabase, hasNote: boolean): Promise<void> {
  const { hasLanes } = await loadJournalCopies();
  const registry = await PostgresRegistryRows.open(database);
  const isUsed =
    hasNote ||
    !(await registry.isEmpty()) ||
    (await hasSharedSessions(database)) ||
    (await hasLanes(database, 'telemetry')) ||
    (await hasLanes(database, 'events'));
  if (!isUsed) return;
  throw new Problem('store_not_empty', {
    reason: 'a fleet has, or had, its store there',
    hint: 'name another schema with the setting store.schema, or another database',
  });
}

async function copyJournals(
  data: DataDirectory,
  database: PostgresDatabase,
  { now, progress }: MigrationOptions,
): Promise<readonly string[]> {
  const { copyJournalToLanes } = await loadJournalCopies();
  const damaged: string[] = [];
  for (const journal of JOURNALS) {
    const copied = (messages: number) => progress('copied', journal, messages);
    const copy = { directory: data[journal], database, journal, copied, compared: () => {} };
    damaged.push(...(await copyJournalToLanes(copy, now())));
  }
  return damaged;
}

async function copyAndCompare(
  data: DataDirectory,
  database: PostgresDatabase,
  { now, log, progress }: MigrationOptions,
): Promise<Readonly<Record<string, number>>> {
  // As a start would do: what a server that was killed left online is offline.
  const registry = await openRegistry({ file: data.registryFile, now, log });
  await registry.resetPresence(BROKER);
  await registry.close();

  const sessions = await copySessions(data, database);
  const source = new SqliteRegistryRows(data.registryFile);
  try {
    const target = await PostgresRegistryRows.open(database);
    const tables = source.tables();
    target.expectColumnsOf(tables);
    await copyRegistry(source, target, tables, (table, rows) => progress('copied', table, rows));
    const cursors = fileCursors(data);
    await writeCursors(database, cursors);
    return {
      ...(await compareRegistries(source, target, tables)),
      ...compareSessions(sessions, await digestOfRows(await readSharedSessions(database))),
      ...(await compareJournals(data, database, progress)),
      ...compareCursors(cursors, await readCursors(database)),
    };
  } finally {
    source.close();
  }
}

/** All of them are in memory at once, as in a server; not both sides. */
async function copySessions(data: DataDirectory, database: PostgresDatabase): Promise<SessionsDigest> {
  const rows = readSessionFile(data.sessionFile);
  await writeSharedSessions(database, rows);
  return digestOfRows(rows);
}

async function compareJournals(
  data: DataDirectory,
  database: PostgresDatabase,
  progress: MigrationOptions['progress'],
): Promise<Readonly<Record<string, number>>> {
  const { compareJournalWithLanes } = await loadJournalCopies();
  const counts: Record<string, number> = {};
  for (const journal of JOURNALS) {
    const compared = (messages: number) => progress('compared', journal, messages);
    const copy = { directory: data[journal], database, journal, copied: () => {}, compared };
    counts[journal] = (await compareJournalWithLanes(copy)).messages;
  }
  return counts;
}

/** Names of rows, and texts. Positions of messages are the same in the store. */
function fileCursors(data: DataDirectory): ReadonlyMap<string, string> {
  const cursors = new Map<string, string>();
  const audit = CursorFile.ofNumbers(join(data.events, AUDIT_POSITION_FILE)).read();
  if (audit !== undefined) cursors.set('audit', `${audit}`);
  for (const sink of existsSync(data.sinks) ? readdirSync(data.sinks, { withFileTypes: true }) : []) {
    if (!sink.isDirectory()) continue;
    for (const journal of JOURNALS) {
      const file = join(data.sinks, sink.name, `${journal}.position`);
      const cursor = new CursorFile(file, (text) => Cursor.parse(text)).read();
      if (cursor !== undefined) cursors.set(`sink/${sink.name}/${journal}`, `${cursor}`);
    }
  }
  return cursors;
}

function compareCursors(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): Readonly<Record<string, number>> {
  for (const [name, text] of expected) {
    if (found.get(name) === text) continue;
    throw new Problem('store_differs', {
      reason: `expected the position ${text} of ${name}, found ${found.get(name)}`,
    });
  }
  return { 'positions of readers': expected.size };
}
