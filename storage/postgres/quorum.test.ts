import { expect, it } from 'vitest';
import { type PostgresCluster, postgresCluster } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { PostgresDatabase } from './database.ts';
import type { PostgresHost } from './settings.ts';

const INSERT = 'INSERT INTO notes VALUES ($1)';

const ways = [
  ['a transaction', (database: PostgresDatabase) => database.transaction((one) => one.query(INSERT, [1]))],
  ['a single statement', (database: PostgresDatabase) => database.execute(INSERT, [1])],
] as const;

async function openNotes(cluster: PostgresCluster, timeouts = {}): Promise<PostgresDatabase> {
  const database = await cluster.open({ timeouts });
  await database.execute('CREATE TABLE notes (id BIGINT)');
  return database;
}

async function backendWaitingForStandbys({ primary }: PostgresCluster): Promise<number> {
  const sql = `SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
  await expect.poll(() => primary.ask(sql)).toHaveLength(1);
  const [row] = await primary.ask<{ pid: number }>(sql);
  return row?.pid as number;
}

describeWithClients('a commit to a primary with two standbys', ['postgres'], () => {
  it.each(ways)(
    'is not stored when its wait for lost standbys was cancelled, although it is visible: %s',
    async (_, write) => {
      const cluster = await postgresCluster({ standbys: 2 });
      const database = await openNotes(cluster);
      await Promise.all(cluster.standbys.map((standby) => standby.stop()));
      const written = write(database).catch((error: unknown) => error);
      const pid = await backendWaitingForStandbys(cluster);
      await cluster.primary.ask('SELECT pg_cancel_backend($1)', [pid]);
      expect(await written).toMatchObject({
        code: 'unavailable',
        why: 'quorum lost',
        reason: expect.stringContaining('canceling wait for synchronous replication'),
      });
      expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
    },
  );

  it('waits for a standby longer than a statement may take, and is stored when one is back', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const database = await openNotes(cluster, { statement: 500 });
    await Promise.all(cluster.standbys.map((standby) => standby.stop()));
    let isStored = false;
    const written = database.execute(INSERT, [1]).then(() => {
      isStored = true;
    });
    await backendWaitingForStandbys(cluster);
    // Longer than the limit of a statement, by the server's own clock.
    await cluster.primary.ask('SELECT pg_sleep(0.8)');
    expect(isStored).toBe(false);
    await cluster.standbys[0]?.start();
    await written;
  });

  it('does not wait for lost standbys in a transaction that may be lost, which others see at once', async () => {
    const cluster = await postgresCluster({ standbys: 1 });
    const database = await openNotes(cluster);
    await Promise.all(cluster.standbys.map((standby) => standby.stop()));
    await database.transaction((one) => one.query(INSERT, [1]), { mayBeLost: true });
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
    // Of that transaction alone: the next one on the same connection waits.
    const written = database.transaction((one) => one.query(INSERT, [2]));
    await backendWaitingForStandbys(cluster);
    await cluster.standbys[0]?.start();
    await written;
  });

  it('leaves connections to reads, which go on while many writes wait', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const database = await cluster.open({ connections: 4 });
    await database.execute('CREATE TABLE notes (id BIGINT)');
    await Promise.all(cluster.standbys.map((standby) => standby.stop()));
    const written = Promise.all([1, 2, 3, 4, 5, 6].map((id) => database.execute(INSERT, [id])));
    const sql = `SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
    await expect.poll(() => cluster.primary.ask(sql)).toEqual([{ waiting: 2 }]);
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([]);
    expect(database.usage).toEqual({ open: 3, idle: 1, waiting: 4 });
    await cluster.standbys[0]?.start();
    await written;
  });

  it('has an unknown outcome once it was not confirmed in time, and its connection is free again when a standby is back', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const database = await cluster.open({ connections: 1, timeouts: { commit: 1_000, retry: 30_000 } });
    await database.execute('CREATE TABLE notes (id BIGINT)');
    await Promise.all(cluster.standbys.map((standby) => standby.stop()));
    await expect(database.execute(INSERT, [1])).rejects.toMatchObject({
      code: 'outcome_unknown',
      why: 'connection lost',
    });
    const read = database.query('SELECT id FROM notes');
    await cluster.standbys[0]?.start();
    expect((await read).rows).toEqual([{ id: 1 }]);
  });
});

describeWithClients('a database whose primary was killed', ['postgres'], () => {
  it('is found on the standby that was promoted, with everything that was confirmed', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const database = await openNotes(cluster, { retry: 30_000 });
    const confirmed: number[] = [];
    let isOver = false;
    const writer = (async () => {
      for (let id = 1; !isOver; id += 1) {
        try {
          await database.transaction((one) => one.query(INSERT, [id]));
          confirmed.push(id);
        } catch (error) {
          // Its outcome is unknown; it is not written again.
          expect(error).toMatchObject({ code: 'outcome_unknown' });
        }
      }
    })();
    await expect.poll(() => confirmed.length).toBeGreaterThan(20);
    await cluster.failOver();
    const before = confirmed.length;
    await expect.poll(() => confirmed.length).toBeGreaterThan(before + 20);
    isOver = true;
    await writer;
    const { rows } = await database.query<{ id: number }>('SELECT id FROM notes ORDER BY id');
    const stored = rows.map(({ id }) => id);
    expect(new Set(stored).size).toBe(stored.length);
    expect(confirmed.filter((id) => !stored.includes(id))).toEqual([]);
  });

  it('is found while the former primary answers nothing: what was sent to it has an unknown outcome, and reads go on', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const primaries: number[] = [];
    const settings = {
      timeouts: { connect: 2_000, commit: 3_000 },
      onPrimary: ({ port }: PostgresHost) => primaries.push(port),
    };
    const database = await cluster.open(settings);
    await database.execute('CREATE TABLE notes (id BIGINT)');
    const former = cluster.primary;
    // One connection for each of what follows.
    await Promise.all([1, 2].map(() => database.query('SELECT pg_sleep(0.1)')));
    expect(database.usage).toEqual({ open: 2, idle: 2, waiting: 0 });
    former.freeze();
    const reading = database.query('SELECT 1 AS one');
    const written = database.execute(INSERT, [1]).catch((error: unknown) => error);
    await cluster.failOver();
    expect(await written).toMatchObject({ code: 'outcome_unknown', why: 'connection lost' });
    expect((await reading).rows).toEqual([{ one: 1 }]);
    await database.execute(INSERT, [2]);
    expect(primaries).toEqual([former.port, cluster.primary.port]);
  });
});
