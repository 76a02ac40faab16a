/**
 * Moves the fleet of a shared store to a data directory, which has the keys of its CA. Everything is written into a folder of the directory,
 * compared, and renamed once the store says that the fleet has moved. A migration that was interrupted begins again.
 */

import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import {
  digestOfRows,
  readSessionFile,
  readSharedSessions,
  type SessionsDigest,
  writeSessionFile,
} from '../../broker/index.ts';
import {
  copyRegistry,
  openPostgresRegistry,
  openRegistry,
  PostgresRegistryRows,
  SqliteRegistryRows,
} from '../../registry/open.ts';
import { CursorFile, lockDirectory, PollingWakes, syncDirectory } from '../../storage/index.ts';
import { type PostgresDatabase, readCursors, readStoreNote, writeStoreNote } from '../../storage/postgres/index.ts';
import { Cursor, loadJournalCopies } from '../../telemetry/index.ts';
import { type DataDirectory, dataDirectoryAt, openDataDirectory } from '../data-directory.ts';
import { AUDIT_POSITION_FILE, CONNECTIONS_FILE } from '../events/open.ts';
import { readDirectoryNote, removeDirectoryNote, writeDirectoryNote } from './directory-note.ts';
import { compareRegistries, compareSessions, type MigrationOptions, type MigrationReport } from './migration.ts';
import { type SharedStoreAccess, withSharedStore } from './shared-store-access.ts';
import { directoryName, JOURNALS } from './to-shared-store.ts';
import { movedTo } from './usable-store.ts';

/** A folder of the data directory in which the fleet is written until it is complete. */
const DRAFT = 'receiving';

const STORES = ['registry.db', 'sessions.db', 'telemetry', 'events'] as const;

/** Of connections of several nodes: microseconds since the epoch (`server/cluster/connection-times.ts`). */
const CONNECTIONS_PER_MS = 1_000;

/**
 * Throws Problem `data_directory_busy`, `store_in_use`, `store_not_empty`, `store_moved`, `store_unfinished`, `store_differs`, and what the
 * stores throw.
 */
export async function moveToDataDirectory(options: MigrationOptions): Promise<MigrationReport> {
  const data = openDataDirectory(options.config.data);
  const lock = lockDirectory(data.path);
  try {
    const { store } = options.config;
    return await withSharedStore({ ...options, store }, (access) => move(data, access, options));
  } finally {
    lock.release();
  }
}

async function move(
  data: DataDirectory,
  store: SharedStoreAccess,
  options: MigrationOptions,
): Promise<MigrationReport> {
  const { database, name } = store;
  const report = { from: name, to: directoryName(data.path), damaged: [] };
  const own = readDirectoryNote(data.path);
  const found = await readStoreNote(database);
  if (found?.state === 'moved') {
    // The last step of a migration that was interrupted.
    if (own?.state !== 'receiving' || found.migration !== own.migration) throw movedTo(found);
    activate(data);
    return { ...report, state: 'moved', counts: {} };
  }
  if (found !== undefined) throw new Problem('store_unfinished', { reason: `a migration from ${found.other}` });
  expectKeys(data);
  const migration = await beginReceiving(data, store, options.now());
  const draft = dataDirectoryAt(join(data.path, DRAFT));
  rmSync(draft.path, { recursive: true, force: true });
  mkdirSync(draft.path, { mode: 0o700 });
  const counts = await copyAndCompare(database, draft, options);
  syncDirectory(draft.path);
  store.expectHeld();
  await writeStoreNote(database, { state: 'moved', migration, other: report.to, at: options.now() });
  activate(data);
  return { ...report, state: 'moved', counts };
}

/** With other keys a server would refuse every device. */
function expectKeys({ path, authority }: DataDirectory): void {
  if (existsSync(authority) && readdirSync(authority).length > 0) return;
  throw new Problem('data_directory_unusable', {
    reason: `${path}: expected the keys of the CA in ca/, found none`,
    hint: 'copy ca/ from the data directory of a node',
  });
}

/** Sets stores aside that this fleet left here before. Returns the name of the migration. */
async function beginReceiving(
  data: DataDirectory,
  { database, name }: SharedStoreAccess,
  now: number,
): Promise<string> {
  const own = readDirectoryNote(data.path);
  if (own?.state === 'receiving' && own.other === name) return own.migration;
  const left = STORES.filter((store) => isThere(join(data.path, store)));
  if (own?.state === 'receiving' || (left.length > 0 && !(await isFormerStore(data, own?.state, database)))) {
    throw new Problem('store_not_empty', {
      reason: `${data.path}: expected no stores, found ${left.join(', ') || 'what another migration has left'}`,
      hint: 'name another directory with --to file:DIR, with the ca/ of a node in it',
    });
  }
  if (left.length > 0) setAside(data, left, now);
  const migration = randomUUID();
  writeDirectoryNote(data.path, { state: 'receiving', migration, other: name, at: now });
  return migration;
}

function isThere(path: string): boolean {
  return existsSync(path) && (path.endsWith('.db') || readdirSync(path).length > 0);
}

/** Whether the fleet of the store has moved there from this directory. */
async function isFormerStore(
  data: DataDirectory,
  state: string | undefined,
  database: PostgresDatabase,
): Promise<boolean> {
  if (state !== 'moved' || !existsSync(data.registryFile)) return false;
  const rows = new SqliteRegistryRows(data.registryFile);
  try {
    const [issuers] = rows.tables().filter(({ name }) => name === 'issuers');
    if (issuers === undefined) return false;
    const ids = async (of: Pick<SqliteRegistryRows, 'pages'>) => {
      const found: unknown[] = [];
      for await (const page of of.pages(issuers, 'key')) found.push(...page.map(({ id }) => id));
      return found;
    };
    const known = await ids(await PostgresRegistryRows.open(database));
    return (await ids(rows)).some((id) => known.includes(id));
  } finally {
    rows.close();
  }
}

/** They stay until the operator deletes them. The registry is the last: it says whose stores they are, when this is done again. */
function setAside(data: DataDirectory, stores: readonly string[], now: number): void {
  const aside = join(data.path, `moved-${new Date(now).toISOString().replaceAll(':', '-')}`);
  mkdirSync(aside, { recursive: true, mode: 0o700 });
  for (const store of stores.toReversed()) {
    for (const file of readdirSync(data.path).sort().reverse()) {
      if (file === store || file === `${store}-wal` || file === `${store}-shm`) {
        renameSync(join(data.path, file), join(aside, file));
      }
    }
  }
}

/** Moves what is complete to its place. Can be done again after it was interrupted. */
function activate(data: DataDirectory): void {
  const draft = join(data.path, DRAFT);
  for (const store of STORES) {
    if (!existsSync(join(draft, store))) continue;
    const place = join(data.path, store);
    if (!isThere(place)) rmSync(place, { recursive: true, force: true });
    renameSync(join(draft, store), place);
  }
  const sinks = join(draft, 'sinks');
  for (const sink of existsSync(sinks) ? readdirSync(sinks) : []) {
    mkdirSync(join(data.sinks, sink), { recursive: true, mode: 0o700 });
    for (const file of readdirSync(join(sinks, sink))) {
      renameSync(join(sinks, sink, file), join(data.sinks, sink, file));
    }
    syncDirectory(join(data.sinks, sink));
    syncDirectory(data.sinks);
  }
  syncDirectory(data.path);
  removeDirectoryNote(data.path);
  rmSync(draft, { recursive: true, force: true });
}

async function copyAndCompare(
  database: PostgresDatabase,
  draft: DataDirectory,
  options: MigrationOptions,
): Promise<Readonly<Record<string, number>>> {
  await resetPresence(database, options);
  const sessions = await copySessions(database, draft);
  const counts = compareSessions(sessions, await digestOfRows(readSessionFile(draft.sessionFile)));
  const ofRegistry = await copyAndCompareRegistry(database, draft, options);
  const { progress } = options;
  const cursors = await readCursors(database);
  const { copyLanesToJournal, compareLanesWithJournal } = await loadJournalCopies();
  const ofJournals: Record<string, number> = {};
  for (const journal of JOURNALS) {
    const copy = {
      ...{ directory: draft[journal], database, journal },
      copied: (messages: number) => progress('copied', journal, messages),
      compared: (messages: number) => progress('compared', journal, messages),
    };
    const readers = readersOf(cursors, journal);
    const positions = await copyLanesToJournal(copy, readers);
    for (const [sink, position] of positions)
      await savePosition(join(draft.sinks, sink, `${journal}.position`), position);
    ofJournals[journal] = (await compareLanesWithJournal(copy)).messages;
  }
  const audit = cursors.get('audit');
  if (audit !== undefined) await savePosition(join(draft.events, AUDIT_POSITION_FILE), audit);
  // Greater than the numbers that any node has given.
  const connections = options.now() * CONNECTIONS_PER_MS + CONNECTIONS_PER_MS ** 2;
  await savePosition(join(draft.events, CONNECTIONS_FILE), connections);
  return { ...ofRegistry, ...counts, ...ofJournals, 'positions of readers': cursors.size };
}

/** All of them are in memory at once, as in a server; not both sides. */
async function copySessions(database: PostgresDatabase, draft: DataDirectory): Promise<SessionsDigest> {
  const rows = await readSharedSessions(database);
  await writeSessionFile(draft.sessionFile, rows);
  return digestOfRows(rows);
}

/** What a node that was killed has left online is offline. */
async function resetPresence(database: PostgresDatabase, { now, log }: MigrationOptions): Promise<void> {
  const brokers = await (await PostgresRegistryRows.open(database)).brokersOnline();
  if (brokers.length === 0) return;
  const wakes = new PollingWakes(60_000);
  try {
    const registry = await openPostgresRegistry({ database: database.apart({}), wakes, node: 'migration', now, log });
    try {
      for (const broker of brokers) await registry.resetPresence(broker);
    } finally {
      await registry.close();
    }
  } finally {
    await wakes.close();
  }
}

async function copyAndCompareRegistry(
  database: PostgresDatabase,
  draft: DataDirectory,
  { now, log, progress }: MigrationOptions,
): Promise<Readonly<Record<string, number>>> {
  const source = await PostgresRegistryRows.open(database);
  const target = new SqliteRegistryRows(draft.registryFile);
  let counts: Readonly<Record<string, number>>;
  try {
    const tables = target.tables();
    source.expectColumnsOf(tables);
    await copyRegistry(source, target, tables, (table, rows) => progress('copied', table, rows));
    counts = await compareRegistries(source, target, tables);
  } finally {
    target.close();
  }
  // Opened once as a server opens it, and closed so that its log is in the file.
  await (await openRegistry({ file: draft.registryFile, now, log })).close();
  return counts;
}

/** Of sinks that read this journal, by name. */
function readersOf(cursors: ReadonlyMap<string, string>, journal: string): ReadonlyMap<string, Cursor> {
  const readers = new Map<string, Cursor>();
  for (const [name, text] of cursors) {
    const [kind, sink = '', source] = name.split('/', 3);
    const cursor = Cursor.parse(text);
    if (kind === 'sink' && source === journal && cursor !== undefined) readers.set(sink, cursor);
  }
  return readers;
}

async function savePosition(file: string, position: number | string): Promise<void> {
  await new CursorFile<number | string>(file, (text) => text).save(position);
}
