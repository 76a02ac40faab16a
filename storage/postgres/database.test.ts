import { randomBytes } from 'node:crypto';
import { chownSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { postgresCluster, suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { postgresOwner } from '../../test/fixtures/postgres-programs.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { smallDisk } from '../../test/fixtures/small-disk.ts';
import { isUniqueViolation } from './postgres-problem.ts';

describeWithClients('a database of PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();
  const open: ReturnType<typeof postgres>['open'] = (settings) => postgres().open(settings);

  it('stores what a transaction has written, and nothing of one that threw', async () => {
    const database = await open();
    await database.execute('CREATE TABLE notes (id BIGINT PRIMARY KEY, bytes BYTEA NOT NULL)');
    const insert = { name: 'insert note', text: 'INSERT INTO notes (id, bytes) VALUES ($1, $2)' };
    const id = Number.MAX_SAFE_INTEGER;
    const count = await database.transaction(async (transaction) => {
      return (await transaction.query(insert, [id, Buffer.from([0, 255])])).count;
    });
    expect(count).toBe(1);
    const failed = database.transaction(async (transaction) => {
      await transaction.query(insert, [1, Buffer.alloc(0)]);
      throw new RangeError('of the caller');
    });
    await expect(failed).rejects.toThrow('of the caller');
    const own = new Error('neither of the database nor of a socket');
    let runs = 0;
    const work = async () => {
      runs += 1;
      throw own;
    };
    await expect(database.transaction(work)).rejects.toBe(own);
    expect(runs).toBe(1);
    const { rows } = await database.query('SELECT * FROM notes');
    expect(rows).toEqual([{ id, bytes: Buffer.from([0, 255]) }]);
  });

  it('refuses a BIGINT that a number cannot hold', async () => {
    await expect((await open()).query('SELECT 9007199254740993::bigint AS id')).rejects.toThrow(RangeError);
  });

  it('throws the failure of a statement that the caller did not wait for, and stores nothing', async () => {
    const database = await open();
    await database.execute('CREATE TABLE notes (id BIGINT PRIMARY KEY)');
    const failed = database.transaction(async (transaction) => {
      await transaction.query('INSERT INTO notes VALUES (1)');
      void transaction.query('INSERT INTO notes VALUES (1)');
    });
    const error = await failed.catch((thrown: unknown) => thrown);
    expect(isUniqueViolation(error, 'notes_pkey')).toBe(true);
    expect((await database.query('SELECT * FROM notes')).rows).toEqual([]);
  });

  it('repeats a transaction that conflicts with another one, so that each has its effect once', async () => {
    const database = await open();
    await database.execute('CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)');
    await database.execute(`INSERT INTO counters VALUES ('a', 0)`);
    let runs = 0;
    const bothHaveRead = Promise.withResolvers<void>();
    const increment = () =>
      database.transaction(
        async (transaction) => {
          const { rows } = await transaction.query<{ value: number }>('SELECT value FROM counters');
          runs += 1;
          if (runs === 2) bothHaveRead.resolve();
          await bothHaveRead.promise;
          await transaction.query('UPDATE counters SET value = $1', [(rows[0]?.value ?? 0) + 1]);
        },
        { isolation: 'serializable' },
      );
    await Promise.all([increment(), increment()]);
    expect((await database.query('SELECT value FROM counters')).rows).toEqual([{ value: 2 }]);
    expect(runs).toBe(3);
  });

  it('repeats a transaction whose connection was lost before its commit', async () => {
    const database = await open();
    await database.execute('CREATE TABLE notes (id BIGINT)');
    let runs = 0;
    await database.transaction(async (transaction) => {
      runs += 1;
      const { rows } = await transaction.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await transaction.query('INSERT INTO notes VALUES (1)');
      if (runs === 1) await postgres().primary.ask(`SELECT pg_terminate_backend(${rows[0]?.pid}, 5000)`);
    });
    expect(runs).toBe(2);
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
  });

  it('does not repeat a statement whose connection was lost after it was sent, and says that its outcome is unknown', async () => {
    const database = await open();
    await database.execute('CREATE TABLE notes (id BIGINT)');
    const sent = database.execute(`INSERT INTO notes SELECT 1 FROM pg_sleep(60)`).catch((thrown: unknown) => thrown);
    await expect
      .poll(() =>
        postgres().primary.ask(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()`,
        ),
      )
      .toHaveLength(1);
    expect(await sent).toMatchObject({ code: 'outcome_unknown', why: 'connection lost' });
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([]);
  });

  it('ends a statement that takes too long, and a wait for a lock', async () => {
    const database = await open({ timeouts: { statement: 1_500, lock: 500 } });
    await database.execute('CREATE TABLE notes (id BIGINT)');
    await expect(database.query('SELECT pg_sleep(60)')).rejects.toMatchObject({ code: 'unavailable' });
    await database.transaction(async (transaction) => {
      await transaction.query('LOCK TABLE notes');
      await expect(database.query('SELECT * FROM notes')).rejects.toMatchObject({
        code: 'unavailable',
        reason: expect.stringContaining('55P03'),
      });
    });
  });

  it('ends a transaction whose client stands still before others give up their wait for its locks, and repeats it then', async () => {
    const database = await open({ timeouts: { idle: 1_000 } });
    await database.execute('CREATE TABLE notes (id BIGINT PRIMARY KEY, runs BIGINT NOT NULL)');
    await database.execute('INSERT INTO notes VALUES (1, 0)');
    const change = 'UPDATE notes SET runs = runs + 1 WHERE id = 1';
    const isLocked = Promise.withResolvers<void>();
    const another = isLocked.promise.then(() => database.execute(change));
    let runs = 0;
    await database.transaction(async (transaction) => {
      runs += 1;
      await transaction.query(change);
      isLocked.resolve();
      if (runs === 1) await another;
    });
    expect(runs).toBe(2);
    expect((await database.query('SELECT runs FROM notes')).rows).toEqual([{ runs: 2 }]);
  });

  it('is reached again after its server was killed and started', async () => {
    const database = await open();
    await database.execute('CREATE TABLE notes (id BIGINT)');
    await postgres().primary.kill();
    await postgres().primary.start();
    await database.transaction(async (transaction) => {
      await transaction.query('INSERT INTO notes VALUES (1)');
    });
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
  });

  it('stores nothing while the disk of its server is full, and goes on when there is space', async ({ skip }) => {
    const disk = smallDisk(5 * 1024 * 1024);
    if (disk === undefined) return skip('expected the right to mount a file system');
    const { uid, gid } = postgresOwner();
    chownSync(disk, uid as number, gid as number);
    const other = join(disk, 'of another program');
    writeFileSync(other, Buffer.alloc(3 * 1024 * 1024));
    const cluster = await postgresCluster();
    const { primary } = cluster;
    await primary.ask(`CREATE TABLESPACE small LOCATION '${disk}'`);
    await primary.ask('GRANT CREATE ON TABLESPACE small TO rollcall');
    const database = await cluster.open();
    await database.execute('CREATE TABLE blocks (number BIGINT, block BYTEA) TABLESPACE small');
    await database.execute('ALTER TABLE blocks ALTER COLUMN block SET STORAGE EXTERNAL');
    const store = (number: number) =>
      database.execute('INSERT INTO blocks VALUES ($1, $2)', [number, randomBytes(1024 * 1024)]);
    const stored = () => database.query('SELECT number FROM blocks ORDER BY number');
    await store(1);
    await expect(store(2)).rejects.toMatchObject({
      code: 'unavailable',
      reason: expect.stringContaining('53100: could not extend file'),
    });
    expect((await stored()).rows).toEqual([{ number: 1 }]);
    rmSync(other);
    await store(3);
    expect((await stored()).rows).toEqual([{ number: 1 }, { number: 3 }]);
  });

  it('says within its time that no host is reached, with the reason of each', async () => {
    const database = await open({ timeouts: { retry: 50 } });
    const { port } = postgres().primary;
    await postgres().primary.stop();
    await expect(database.query('SELECT 1')).rejects.toMatchObject({
      code: 'unavailable',
      reason: `expected a primary of the database: 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`,
    });
    await postgres().primary.start();
  });

  it.each([
    [{ password: () => 'a wrong one' }, 'database_access_refused'],
    [{ password: undefined }, 'database_access_refused'],
    [{ database: 'absent' }, 'database_access_refused'],
  ] as const)('says that its access was refused: %o', async (settings, code) => {
    await expect((await open(settings)).query('SELECT 1')).rejects.toMatchObject({ code });
  });

  it('says what to configure for a server that asks for a password, and for a schema that is not there', async () => {
    await expect((await open({ password: undefined })).query('SELECT 1')).rejects.toMatchObject({
      reason: 'it asks for a password, and none is configured (passwordFile)',
    });
    const created = (await open()).transaction(async (transaction) => {
      await transaction.query('SET LOCAL search_path = absent');
      await transaction.query('CREATE TABLE notes (id BIGINT)');
    });
    await expect(created).rejects.toMatchObject({
      code: 'database_access_refused',
      hint: expect.stringContaining('store.schema'),
    });
  });

  it('opens no more connections than it may', async () => {
    const database = await open({ connections: 2 });
    const pids = await Promise.all(
      Array.from({ length: 20 }, () =>
        database.query<{ pid: number }>('SELECT pg_backend_pid() AS pid FROM pg_sleep(0.01)'),
      ),
    );
    expect(new Set(pids.map(({ rows }) => rows[0]?.pid)).size).toBe(2);
  });
});
