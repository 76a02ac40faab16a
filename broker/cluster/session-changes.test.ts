import { pino } from 'pino';
import { expect, it } from 'vitest';
import { migrate, type PostgresDatabase, UnconfirmedCommit } from '../../storage/postgres/index.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { createClusterCommits } from './session-changes.ts';
import { type ClusterChange, SESSION_TABLES } from './tables.ts';

const GIVE: readonly ClusterChange[] = [
  { name: 'putSession', values: ['dev-1', 'device/dev-1', '{}', 1, 60] },
  { name: 'moveClaim', values: ['b', 'dev-1', 'a'] },
];

/** The transaction that has written the mark of a batch last. */
const MARKED_BY = `SELECT xmin::text AS writer FROM node_cursors WHERE to_node = 'a' AND from_node = '/batches'`;

describeWithClients('a batch whose commit was not confirmed', ['postgres'], () => {
  const postgres = suitePostgres();

  /** Of a node `a` that has `dev-1`. `meanwhile` runs after the first attempt to commit, whose outcome is not told. */
  async function start(attempt: 'commits' | 'rolls back', meanwhile: (database: PostgresDatabase) => Promise<unknown>) {
    const database = await postgres().open();
    await migrate(database, SESSION_TABLES);
    await database.execute(`INSERT INTO session_claims VALUES ('dev-1', 'a', 1)`);
    let attempts = 0;
    const transaction: PostgresDatabase['transaction'] = async (work, options) => {
      attempts += 1;
      if (attempts > 1) return database.transaction(work, options);
      const failed = new UnconfirmedCommit('connection lost', 'the test has ended it');
      await database
        .transaction(async (given) => {
          await work(given);
          if (attempt === 'rolls back') throw failed;
        }, options)
        .catch((error: unknown) => error);
      await meanwhile(database);
      throw failed;
    };
    const commits = createClusterCommits({
      database: { transaction } as PostgresDatabase,
      nodes: { name: 'a', epoch: 1, fence: async () => {}, find: () => undefined } as unknown as ClusterNodes,
      wakes: { wake() {}, onWake: () => () => {} } as never,
      now: Date.now,
      beforeCommit() {},
      log: pino({ level: 'silent' }),
    });
    for (const change of GIVE) commits.add(change, 100);
    await commits.durable();
    expect(attempts).toBe(2);
    await commits.close();
    const sessions = await database.query('SELECT client_id FROM sessions');
    const claims = await database.query<{ node: string }>('SELECT node FROM session_claims');
    const marks = await database.query<{ writer: string }>(MARKED_BY);
    return { sessions: sessions.count, owner: claims.rows.map(({ node }) => node), marks: marks.rows };
  }

  it('does not change again what another node has by then', async () => {
    // The next owner has ended the session meanwhile.
    const after = await start('commits', (database) => database.execute('DELETE FROM sessions'));
    expect(after).toMatchObject({ sessions: 0, owner: ['b'] });
  });

  it('is written again when it was not stored', async () => {
    expect(await start('rolls back', async () => {})).toMatchObject({ sessions: 1, owner: ['b'] });
  });

  it('counts as stored only after a commit behind it, for which the standbys are waited for', async () => {
    let first: readonly unknown[] = [];
    const { marks } = await start('commits', async (database) => {
      first = (await database.query(MARKED_BY)).rows;
    });
    expect(first).toHaveLength(1);
    expect(marks).toHaveLength(1);
    expect(marks).not.toEqual(first);
  });
});
