/** A session file of schema 1, which the first version wrote, is opened with all that it contains. */

import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { openStore } from '../../test/fixtures/broker/stored-messages.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openSessionFile } from './session-file.ts';
import { NEVER_EXPIRES } from './session-store.ts';

/** The tables as the first version created them, with rows that it wrote. */
const SCHEMA_1 = `
  CREATE TABLE sessions (client_id TEXT PRIMARY KEY, owner TEXT NOT NULL, about TEXT NOT NULL, away_since INTEGER)
    STRICT, WITHOUT ROWID;
  CREATE TABLE subscriptions (client_id TEXT NOT NULL, filter TEXT NOT NULL, qos INTEGER NOT NULL, options TEXT,
    PRIMARY KEY (client_id, filter)) STRICT, WITHOUT ROWID;
  CREATE TABLE bodies (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL,
    retain INTEGER NOT NULL) STRICT;
  CREATE TABLE queued (id INTEGER PRIMARY KEY, client_id TEXT NOT NULL, body INTEGER, message_id INTEGER) STRICT;
  CREATE TABLE incoming (client_id TEXT NOT NULL, message_id INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (client_id, message_id)) STRICT, WITHOUT ROWID;
  CREATE TABLE retained (topic TEXT PRIMARY KEY, owner TEXT, payload BLOB NOT NULL, qos INTEGER NOT NULL) STRICT;
  CREATE TABLE wills (client_id TEXT PRIMARY KEY, about TEXT, topic TEXT NOT NULL, payload BLOB NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL) STRICT;

  INSERT INTO sessions VALUES ('c1', 'o1', '{"a":1}', 5), ('c2', 'o2', '{}', NULL);
  INSERT INTO subscriptions VALUES ('c1', 'a/#', 1, NULL), ('c1', 'b', 0, '{"rh":2,"rap":true,"nl":true}');
  INSERT INTO bodies VALUES (1, 'a/b', CAST('one' AS BLOB), 1, 0), (2, 'a/c', CAST('two' AS BLOB), 2, 0);
  INSERT INTO queued VALUES (3, 'c1', 1, 7), (4, 'c1', NULL, 8), (5, 'c1', 2, NULL), (6, 'c2', 2, NULL);
  INSERT INTO incoming VALUES ('c1', 1, 't', CAST('key' AS BLOB)), ('c1', 2, 't', CAST('' AS BLOB));
  INSERT INTO retained VALUES ('r/1', 'o1', CAST('kept' AS BLOB), 1), ('r/2', NULL, CAST('kept' AS BLOB), 0);
  INSERT INTO wills VALUES ('c1', '{"owner":"o1"}', 'w', CAST('gone' AS BLOB), 1, 1), ('c2', NULL, 'w', CAST('gone' AS BLOB), 1, 0);
`;

function fileOfSchema1(): string {
  const file = join(temporaryDirectory(), 'sessions.db');
  const database = new Database(file);
  database.exec(SCHEMA_1);
  database.pragma('user_version = 1');
  database.pragma(`application_id = ${0x52437365}`);
  database.close();
  return file;
}

it('a session file of schema 1 opens with its sessions, subscriptions, queues, retained messages and wills', async () => {
  const { store } = await openStore({ file: fileOfSchema1() });
  expect(store.storedSessions()).toEqual([
    { clientId: 'c1', owner: 'o1', about: '{"a":1}', awaySince: 5, expiry: NEVER_EXPIRES },
    { clientId: 'c2', owner: 'o2', about: '{}', awaySince: undefined, expiry: NEVER_EXPIRES },
  ]);
  const options = { noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: undefined };
  expect(store.subscriptionsOf('c1')).toEqual([
    { clientId: 'c1', filter: 'a/#', qos: 1, ...options },
    { clientId: 'c1', filter: 'b', qos: 0, ...options, noLocal: true, retainAsPublished: true, retainHandling: 2 },
  ]);
  expect(store.filters.matching('a/b')).toHaveLength(1);

  const queue = store.queueOf('c1', { isStored: true });
  expect(queue.inFlight()).toMatchObject([
    { packetId: 7, qos: 1, isReleased: false, message: { topic: 'a/b', qos: 1, properties: undefined } },
    { packetId: 8, qos: 2, isReleased: true },
  ]);
  expect(queue.nextUnsent()).toMatchObject({ qos: 2, retain: false, share: undefined, message: { topic: 'a/c' } });
  expect(String(store.queueOf('c2', { isStored: true }).nextUnsent()?.message.payload)).toBe('two');

  expect([store.incoming('c1', 1), store.incoming('c1', 2)]).toEqual([{ key: 'key' }, { key: undefined }]);
  expect([...store.retainedMatching('#')].map(({ topic, payload, qos }) => [topic, String(payload), qos])).toEqual([
    ['r/1', 'kept', 1],
    ['r/2', 'kept', 0],
  ]);
  expect([...store.retainedOwners()].map(({ owner }) => owner)).toEqual(['o1', undefined]);
  const will = {
    topic: 'w',
    qos: 1,
    retain: true,
    delayInterval: 0,
    messageExpiryInterval: undefined,
    dueAt: undefined,
  };
  expect([...store.wills()]).toMatchObject([['c1', { ...will, about: '{"owner":"o1"}', properties: undefined }]]);
});

it('a session file of schema 1 has the tables of a new one after its migration', async () => {
  const tables = (file: string) => {
    const database = openSessionFile(file, 'every page');
    const names = ['sessions', 'subscriptions', 'bodies', 'queued', 'incoming', 'retained', 'wills'];
    const found = names.map((name) => database.pragma(`table_info(${name})`));
    const version = database.pragma('user_version', { simple: true });
    database.close();
    return { found, version };
  };
  expect(tables(fileOfSchema1())).toEqual(tables(join(temporaryDirectory(), 'sessions.db')));
});

it('changes of a migrated file are written to it', async () => {
  const { store, reopen } = await openStore({ file: fileOfSchema1() });
  const queue = store.queueOf('c1', { isStored: true });
  queue.acknowledge(7);
  await queue.assignPacketId(queue.nextUnsent() as never, 9);
  store.setExpiry('c1', 60);
  store.removeWill('c1');
  const again = (await reopen()).store;
  expect(again.storedSessions()).toMatchObject([{ clientId: 'c1', expiry: 60 }, {}]);
  expect(again.queueOf('c1', { isStored: true }).inFlight()).toMatchObject([{ packetId: 8 }, { packetId: 9 }]);
  expect([...again.wills()]).toEqual([]);
});
