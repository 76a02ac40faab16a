import { expect, it } from 'vitest';
import { type PostgresCluster, postgresCluster } from '../../test/fixtures/postgres-cluster.ts';
import type { PostgresNode } from '../../test/fixtures/postgres-node.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { type CommitMark, missingIn } from './confirmed-commits.ts';
import type { PostgresDatabase } from './database.ts';

const NOT_SYNCHRONOUS = ['synchronous_standby_names=', 'autovacuum=off', 'wal_writer_delay=10ms'];

async function withStandby() {
  const cluster = await postgresCluster({ standbys: 1, settings: NOT_SYNCHRONOUS });
  const database = await cluster.open();
  await database.execute('CREATE TABLE notes (id BIGINT)');
  return { cluster, database, standby: cluster.standbys[0] as PostgresNode };
}

const write = (database: PostgresDatabase, id: number) =>
  database.transaction((transaction) => transaction.query('INSERT INTO notes VALUES ($1)', [id]));

/** All that the primary has committed so far, and what was written before. */
async function untilReceived({ primary }: PostgresCluster): Promise<void> {
  const [{ end } = { end: '' }] = await primary.ask<{ end: string }>('SELECT pg_current_wal_flush_lsn()::text AS end');
  const sql = 'SELECT count(*)::int AS n FROM pg_stat_replication WHERE replay_lsn >= $1::pg_lsn';
  await expect.poll(() => primary.ask(sql, [end]), { timeout: 10_000 }).toEqual([{ n: 1 }]);
}

async function promote(cluster: PostgresCluster, standby: PostgresNode): Promise<void> {
  await cluster.primary.kill();
  await standby.start();
  await standby.promote();
}

async function missing(database: PostgresDatabase, marks: readonly CommitMark[] = database.confirmedCommits) {
  const connection = await database.connect();
  try {
    return await missingIn(connection, marks);
  } finally {
    await connection.close();
  }
}

describeWithClients('commits that were confirmed', ['postgres'], () => {
  it('are found on the standby that has received them, also when it has become the primary', async () => {
    const { cluster, database, standby } = await withStandby();
    await Promise.all([1, 2, 3].map((id) => write(database, id)));
    const marks = database.confirmedCommits;
    expect(marks.length).toBeGreaterThan(0);
    expect(await missing(database)).toBeUndefined();
    await untilReceived(cluster);
    await standby.stop();
    await promote(cluster, standby);
    expect(await missing(database, marks)).toBeUndefined();
    await write(database, 4);
    expect(database.confirmedCommits.at(-1)?.timeline).toBe((marks[0]?.timeline ?? 0) + 1);
    // Of a server that does not know any more up to where it has read the log.
    await standby.stop();
    await standby.start();
    expect(await missing(database, marks)).toBeUndefined();
  });

  it('are missed on a primary that has not received the last one, although no other commit has followed', async () => {
    const { cluster, database, standby } = await withStandby();
    await write(database, 1);
    await untilReceived(cluster);
    await standby.stop();
    await write(database, 2);
    const marks = database.confirmedCommits;
    await promote(cluster, standby);
    expect(await missing(database, marks)).toMatch(
      /^expected transaction \d+ after byte \d+ of timeline 1 of the log, as it was confirmed, found timeline 2, read up to byte \d+, without it$/,
    );
    // Another transaction has its number now.
    for (let id = 3; id < 9; id += 1) await write(database, id);
    expect(await missing(database, marks)).toMatch(/without it$/);
  });

  it('are missed on a primary that has received all of the last transaction but its end', async () => {
    const { cluster, database, standby } = await withStandby();
    await write(database, 1);
    const connection = await database.connect();
    await connection.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
    await connection.query('INSERT INTO notes SELECT generate_series(1, 1000)');
    await write(database, 2);
    await untilReceived(cluster);
    await standby.stop();
    const { mark } = await connection.commit();
    await connection.close();
    await promote(cluster, standby);
    const marks = mark === undefined ? [] : [mark];
    expect(marks).toHaveLength(1);
    expect(await missing(database, marks)).toMatch(/without it$/);
    for (let id = 3; id < 9; id += 1) await write(database, id);
    expect(await missing(database, marks)).toMatch(/without it$/);
  });

  it('are missed when the former primary serves again that does not have them', async () => {
    const { cluster, database, standby } = await withStandby();
    await write(database, 1);
    await untilReceived(cluster);
    await standby.stop();
    await promote(cluster, standby);
    await write(database, 2);
    const marks = database.confirmedCommits;
    await standby.kill();
    await cluster.primary.start();
    await expect(database.connect()).rejects.toMatchObject({ code: 'unavailable' });
    // Of a process that has not seen the other one.
    expect(await missing(await cluster.open(), marks)).toMatch(
      /of timeline 2 .* found timeline 1, byte \d+, without it$/,
    );
  });

  it('are stored and not marked where the role may not read the log of the server', async () => {
    const cluster = await postgresCluster();
    await cluster.primary.ask('REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC');
    const database = await cluster.open();
    await database.execute('CREATE TABLE notes (id BIGINT)');
    await write(database, 1);
    expect(database.confirmedCommits).toEqual([]);
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
  });

  it('of another cluster of servers say nothing, and neither do transactions that only read or may be lost', async () => {
    const { database } = await withStandby();
    await write(database, 1);
    const [mark] = database.confirmedCommits;
    const beyond = { ...(mark as CommitMark), place: Number.MAX_SAFE_INTEGER };
    expect(await missing(database, [beyond])).toMatch(/without it$/);
    expect(await missing(database, [{ ...beyond, system: '1' }])).toBeUndefined();
    await database.transaction((transaction) => transaction.query('SELECT 1'));
    await database.transaction((transaction) => transaction.query('INSERT INTO notes VALUES (2)'), { mayBeLost: true });
    expect(database.confirmedCommits).toEqual([mark]);
  });
});
