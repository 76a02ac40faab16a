/** All that a session store has is moved from the file of a data directory to a shared store and back. */

import { join } from 'node:path';
import { expect, it } from 'vitest';
import { STORED_SESSIONS as ROWS } from '../../test/fixtures/broker/stored-sessions.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { readSessionFile, writeSessionFile } from '../session-store/copied-session-file.ts';
import { digestOfRows } from '../session-store/copied-sessions.ts';
import { MOST_NODES } from './cluster-nodes.ts';
import {
  countSharedSessions,
  hasSharedSessions,
  readSharedSessions,
  takeMovedSessions,
  writeSharedSessions,
} from './copied-sessions.ts';

describeWithClients('sessions that are moved', ['postgres'], () => {
  const postgres = suitePostgres();

  it('are the same there and back, whatever ids their messages have', async () => {
    const directory = temporaryDirectory();
    await writeSessionFile(join(directory, 'sessions.db'), ROWS);
    const read = readSessionFile(join(directory, 'sessions.db'));
    expect(await digestOfRows(read)).toEqual(await digestOfRows(ROWS));
    const database = await postgres().open();
    expect(await hasSharedSessions(database)).toBe(false);
    await writeSharedSessions(database, read);
    // A copy that was interrupted is written again.
    await writeSharedSessions(database, read);
    const shared = await readSharedSessions(database);
    expect(await digestOfRows(shared)).toEqual(await digestOfRows(ROWS));
    await writeSessionFile(join(directory, 'back.db'), shared);
    const back = readSessionFile(join(directory, 'back.db'));
    expect(await digestOfRows(back)).toEqual(await digestOfRows(ROWS));
    expect(back.queued.map(({ id }) => id)).toEqual([1, 2, 3, 4]);
    // No node gives an id with this remainder.
    expect(shared.bodies.map(({ id }) => id % MOST_NODES)).toEqual([0, 0]);
    expect(await hasSharedSessions(database)).toBe(true);
  });

  it('belong to the first node that starts', async () => {
    const database = await postgres().open();
    await hasSharedSessions(database);
    await writeSharedSessions(database, ROWS);
    await Promise.all([takeMovedSessions(database, 'a'), takeMovedSessions(database, 'b')]);
    const { rows } = await database.query<{ client_id: string; node: string }>(
      'SELECT client_id, node FROM session_claims ORDER BY client_id',
    );
    expect(rows.map(({ client_id: clientId }) => clientId)).toEqual(['press-1', 'press-2', 'press-3', 'press-4']);
    expect(new Set(rows.map(({ node }) => node)).size).toBe(1);
  });

  it('are not moved while messages for them wait for a node that does not run, but counted', async () => {
    const database = await postgres().open();
    await hasSharedSessions(database);
    await writeSharedSessions(database, ROWS);
    const about = '{"kind":"message","message":{}}';
    await database.execute('INSERT INTO node_messages VALUES ($1, $2, 5, $3, $4)', ['b', 'a', about, Buffer.alloc(0)]);
    await expect(readSharedSessions(database)).rejects.toMatchObject({ code: 'store_in_use' });
    const { sessions, queued } = await countSharedSessions(database);
    expect([sessions, queued]).toEqual([ROWS.sessions.length, ROWS.queued.length]);
    await database.execute('INSERT INTO node_cursors VALUES ($1, $2, 5)', ['b', 'a']);
    expect(await digestOfRows(await readSharedSessions(database))).toEqual(await digestOfRows(ROWS));
  });
});
