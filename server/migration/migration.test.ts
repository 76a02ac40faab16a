/** A fleet moves between a data directory and a shared store: what is refused, what is the same, and what an interruption leaves. */

import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { hasSharedSessions, writeSessionFile } from '../../broker/index.ts';
import { openRegistry } from '../../registry/open.ts';
import { CursorFile, Heartbeat, lockDirectory } from '../../storage/index.ts';
import {
  LEASE_TABLES,
  migrate,
  NodeLease,
  type PostgresDatabase,
  readCursors,
  writeStoreNote,
} from '../../storage/postgres/index.ts';
import { RegistryFixture } from '../../test/behaviour/registry-fixture.ts';
import { message } from '../../test/behaviour/telemetry-messages.ts';
import { STORED_SESSIONS } from '../../test/fixtures/broker/stored-sessions.ts';
import { fillRegistry } from '../../test/fixtures/full-registry.ts';
import { openTestJournal } from '../../test/fixtures/journal.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PASSWORD, USER } from '../../test/fixtures/postgres-template.ts';
import { start } from '../../test/fixtures/program.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { treeSnapshot } from '../../test/fixtures/tree-snapshot.ts';
import { type DataDirectory, dataDirectoryAt } from '../data-directory.ts';
import { readDirectoryNote, writeDirectoryNote } from './directory-note.ts';
import { countFleet, type MigrationOptions, type MigrationReport, moveFleet } from './index.ts';
import { expectUsableDirectory, expectUsableSharedStore } from './usable-store.ts';

const log = pino({ level: 'silent' });

/** With something in every store, two sinks, and no server. */
async function filledDirectory(): Promise<DataDirectory> {
  const data = dataDirectoryAt(join(temporaryDirectory(), 'data'));
  mkdirSync(data.authority, { recursive: true, mode: 0o700 });
  writeFileSync(join(data.authority, 'root.pem'), 'a root');
  const fleet = await RegistryFixture.open(async (now) => {
    const registry = await openRegistry({ file: data.registryFile, now, log });
    return { registry, reopen: async () => registry };
  });
  await fillRegistry(fleet);
  await fleet.registry.close();
  await writeSessionFile(data.sessionFile, STORED_SESSIONS);
  for (const directory of [data.telemetry, data.events]) {
    const journal = await openTestJournal({ directory });
    for (const text of ['one', 'two', 'three']) await journal.accept(message('press-1', text));
    await journal.close();
  }
  await CursorFile.ofNumbers(join(data.events, 'audit.position')).save(4);
  await CursorFile.ofNumbers(join(data.sinks, 'archive', 'telemetry.position')).save(2);
  await CursorFile.ofNumbers(join(data.sinks, 'mail', 'events.position')).save(3);
  return data;
}

describeWithClients('a migration', ['postgres'], () => {
  const postgres = suitePostgres();

  async function setUp(data: DataDirectory) {
    const database = await postgres().open();
    const passwordFile = join(temporaryDirectory(), 'password');
    writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
    const url = `postgres://${USER}@127.0.0.1:${postgres().primary.port}/rollcall`;
    const { schema } = database;
    const store = {
      url,
      schema,
      passwordFile,
      caFile: '',
      certificateFile: '',
      keyFile: '',
      standbys: 0,
      connections: 4,
    };
    const options: MigrationOptions = {
      config: { data: data.path, store: store as MigrationOptions['config']['store'] },
      isJournalsFirst: false,
      ...{ now: Date.now, log, progress: () => {}, waiting: () => {} },
    };
    return { database, options, passwordFile };
  }

  const there = (options: MigrationOptions) => moveFleet('to the shared store', options);
  const back = (options: MigrationOptions, data = options.config.data) =>
    moveFleet('to the data directory', { ...options, config: { ...options.config, data } });
  const usable = (database: PostgresDatabase) => expectUsableSharedStore(database, 'a', Date.now);
  /** A process that was killed holds the lease for some seconds. */
  const leaseRunsOut = (database: PostgresDatabase) => database.execute(`UPDATE leases SET node = NULL`);

  it('moves everything there and back, and says on each side where the fleet is', async () => {
    const data = await filledDirectory();
    const { database, options } = await setUp(data);
    const first: MigrationReport = await there(options);
    expect(first).toMatchObject({ state: 'moved', counts: { telemetry: 3, events: 3, 'positions of readers': 3 } });
    expect(() => expectUsableDirectory(data.path)).toThrow(expect.objectContaining({ code: 'store_moved' }));
    await usable(database);
    expect(Object.fromEntries(await readCursors(database))).toEqual({
      ...{ audit: '4', 'sink/archive/telemetry': '2', 'sink/mail/events': '3' },
    });
    const second = await back(options);
    expect(second.counts).toEqual(first.counts);
    expectUsableDirectory(data.path);
    await expect(usable(database)).rejects.toMatchObject({ code: 'store_moved' });
    expect(CursorFile.ofNumbers(join(data.events, 'audit.position')).read()).toBe(4);
    expect(CursorFile.ofNumbers(join(data.sinks, 'archive', 'telemetry.position')).read()).toBe(2);
    const [aside = ''] = readdirSync(data.path).filter((name) => name.startsWith('moved-'));
    expect(readdirSync(join(data.path, aside)).sort()).toEqual(['events', 'registry.db', 'sessions.db', 'telemetry']);
    await expect(there(options)).rejects.toMatchObject({ code: 'store_not_empty' });
  });

  it('is refused while a server has the directory, a node the store, or a fleet the target, and changes nothing', async () => {
    const data = await filledDirectory();
    const { database, options } = await setUp(data);
    const lock = lockDirectory(data.path);
    await expect(there(options)).rejects.toMatchObject({ code: 'data_directory_busy' });
    lock.release();
    await migrate(database, LEASE_TABLES);
    const heartbeat = new Heartbeat({ now: () => performance.now(), schedule: () => () => {} });
    const node = await NodeLease.take({ database, node: 'b', heartbeat, now: () => performance.now() });
    onTestFinished(() => node.release());
    const inUse = { code: 'store_in_use', reason: 'by node b' };
    await expect(there(options)).rejects.toMatchObject(inUse);
    const empty = join(temporaryDirectory(), 'empty');
    await expect(back(options, empty)).rejects.toMatchObject(inUse);
    await node.release();
    expect(readDirectoryNote(data.path)).toBeUndefined();
    await usable(database);
    await expect(back(options, empty)).rejects.toMatchObject({ reason: expect.stringContaining('keys of the CA') });
    await expect(back(options)).rejects.toMatchObject({ code: 'store_not_empty' });
    await usable(database);
  });

  it('counts what it would move, and changes nothing', async () => {
    const data = await filledDirectory();
    const { database, options } = await setUp(data);
    // A reader of a database leaves an empty log beside it.
    const contents = () =>
      Object.entries(treeSnapshot(data.path)).filter(([name]) => /\.(db|position|json|pem)$/.test(name));
    const before = contents();
    const { counts } = await countFleet('to the shared store', options);
    expect(counts).toMatchObject({ telemetry: 3, events: 3, 'persistent sessions': 2, tokens: 3 });
    expect(contents()).toEqual(before);
    const moved = await there(options);
    const readers = { 'positions of readers': moved.counts['positions of readers'] };
    expect({ ...counts, ...readers }).toEqual(moved.counts);
    expect({ ...(await countFleet('to the data directory', options)).counts, ...readers }).toEqual(
      counts && moved.counts,
    );
    await usable(database);
  });

  it('counts nothing in a store without a fleet, and makes no tables in it', async () => {
    const { database, options } = await setUp(dataDirectoryAt(temporaryDirectory()));
    const { counts } = await countFleet('to the data directory', options);
    expect(Object.values(counts).filter((count) => count !== 0)).toEqual([]);
    const tables = 'SELECT table_name FROM information_schema.tables WHERE table_schema = $1';
    expect((await database.query(tables, [database.schema])).rows).toEqual([]);
  });

  it('that was interrupted while it set former stores aside goes on when it is run again', async () => {
    const data = await filledDirectory();
    const { options } = await setUp(data);
    await there(options);
    const now = Date.now();
    const aside = join(data.path, `moved-${new Date(now).toISOString().replaceAll(':', '-')}`);
    mkdirSync(join(aside, 'sessions.db', 'in the way'), { recursive: true });
    await expect(back({ ...options, now: () => now })).rejects.toThrow('sessions.db');
    expect(await back(options)).toMatchObject({ state: 'moved' });
    expectUsableDirectory(data.path);
  });

  it('that was killed leaves the source in use, and is done by running it again', async () => {
    const data = await filledDirectory();
    const { database, options, passwordFile } = await setUp(data);
    // Stops the copy behind the journals.
    await hasSharedSessions(database);
    const released = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const holding = database.transaction(
      async (transaction) => {
        await transaction.query('LOCK TABLE session_wills');
        locked.resolve();
        await released.promise;
      },
      { isUnlimited: true },
    );
    await locked.promise;
    const child = start(['migrate', '--data', data.path, '--to', options.config.store.url], {
      environment: { ROLLCALL_STORE_SCHEMA: database.schema, ROLLCALL_STORE_PASSWORD_FILE: passwordFile },
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const blocked = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'rollcall migrate' AND wait_event_type = 'Lock'`;
    await expect.poll(async () => (await postgres().primary.ask(blocked)).length).toBe(1);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    released.resolve();
    await holding;
    expectUsableDirectory(data.path);
    await expect(usable(database)).rejects.toMatchObject({ code: 'store_unfinished' });
    await leaseRunsOut(database);
    // The fleet was served meanwhile.
    const journal = await openTestJournal({ directory: data.telemetry });
    await journal.accept(message('press-1', 'four'));
    await journal.close();
    expect(await there(options)).toMatchObject({ state: 'moved', counts: { telemetry: 4 } });
    await usable(database);
  });

  it('that was killed at its last step ends when it is run again', async () => {
    const data = await filledDirectory();
    const { database, options } = await setUp(data);
    await there(options);
    const { migration = '' } = readDirectoryNote(data.path) ?? {};
    await writeStoreNote(database, { state: 'receiving', migration, other: 'file:', at: 1 });
    await expect(usable(database)).rejects.toMatchObject({ code: 'store_unfinished' });
    expect(await there(options)).toMatchObject({ state: 'moved' });
    await usable(database);

    await back(options);
    const draft = join(data.path, 'receiving');
    mkdirSync(draft);
    for (const name of ['sessions.db', 'events']) renameSync(join(data.path, name), join(draft, name));
    await writeStoreNote(database, { state: 'moved', migration: 'm', other: data.path, at: 1 });
    writeDirectoryNote(data.path, { state: 'receiving', migration: 'm', other: 'postgres:', at: 1 });
    expect(() => expectUsableDirectory(data.path)).toThrow(expect.objectContaining({ code: 'store_unfinished' }));
    expect(await back(options)).toMatchObject({ state: 'moved' });
    expectUsableDirectory(data.path);
    expect(readdirSync(data.path)).toEqual(
      expect.arrayContaining(['registry.db', 'sessions.db', 'events', 'telemetry']),
    );
    expect(readdirSync(data.path)).not.toContain('receiving');
  });

  it('that finds a difference leaves the source in use', async () => {
    const data = await filledDirectory();
    const { database, options } = await setUp(data);
    const changing: MigrationOptions = {
      ...options,
      progress: (step, kind) => {
        if (step !== 'copied' || kind !== 'sign_in_links') return;
        const outside = new Database(data.registryFile);
        outside.exec(`UPDATE operators SET role = 'viewer' WHERE name = 'ada'`);
        outside.close();
      },
    };
    const differs = { code: 'store_differs', reason: expect.stringContaining('rows of operators') };
    await expect(there(changing)).rejects.toMatchObject(differs);
    expectUsableDirectory(data.path);
    await expect(usable(database)).rejects.toMatchObject({ code: 'store_unfinished' });
    expect(await there(options)).toMatchObject({ state: 'moved' });
  });
});
