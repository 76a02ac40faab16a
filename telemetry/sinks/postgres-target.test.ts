import type { DeviceId } from '@rollcall/protocol';
import pg from 'pg';
import { expect, it } from 'vitest';
import { HOSTILE_TEXT } from '../../test/behaviour/telemetry-properties.ts';
import { countOf, JOURNAL_BEGIN, openTestJournal } from '../../test/fixtures/journal.ts';
import { pgbouncer } from '../../test/fixtures/pgbouncer.ts';
import { type PostgresServer, postgresServer } from '../../test/fixtures/postgres-server.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { PostgresTarget, type PostgresTargetOptions } from './postgres-target.ts';

function targetOf(server: PostgresServer, options: Partial<PostgresTargetOptions> = {}): PostgresTarget {
  return new PostgresTarget({
    host: '127.0.0.1',
    port: server.port,
    database: 'postgres',
    user: server.user,
    password: () => server.password,
    tls: 'none',
    table: 'rollcall_messages',
    source: 'telemetry',
    timeout: 5_000,
    ...options,
  });
}

async function ask<Row extends pg.QueryResultRow>(server: PostgresServer, sql: string): Promise<readonly Row[]> {
  const { port, user, password } = server;
  const client = new pg.Client({ host: '127.0.0.1', port, database: 'postgres', user, password });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function countsOf(server: PostgresServer, device: string): Promise<readonly number[]> {
  const sql = `SELECT payload FROM rollcall_messages WHERE device = '${device}' ORDER BY position`;
  return (await ask<{ payload: Buffer }>(server, sql)).map(({ payload }) => countOf(payload));
}

const DROP_COLUMNS = 'DROP COLUMN payload_format, DROP COLUMN user_properties';

function withProperty(device: string, name: string) {
  const sent = {
    device: device as DeviceId,
    stream: 's',
    receivedAt: JOURNAL_BEGIN,
    qos: 1,
    payload: Buffer.from('1'),
  };
  return { ...sent, qos: 1, userProperties: [[name, '']] } as const;
}

async function propertiesIn(server: PostgresServer): Promise<readonly unknown[]> {
  const rows = await ask(server, 'SELECT * FROM rollcall_messages ORDER BY position');
  return rows.map((row) => row.user_properties);
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

describeWithClients('a table of PostgreSQL as target', ['postgres'], () => {
  it('is made with a partition for each day, and holds everything that a message has', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    const message = { device: 'dev.1' as DeviceId, stream: 'climate', qos: 1, payload: Buffer.from([0, 255]) } as const;
    await journal.accept({
      ...message,
      receivedAt: JOURNAL_BEGIN + 1,
      deviceTime: JOURNAL_BEGIN - 5,
      deviceSequence: 7,
      key: 'k-1',
      contentType: 'application/cbor',
      payloadFormatIndicator: 0,
      userProperties: [
        ['unit', 'celsius'],
        ['unit', HOSTILE_TEXT],
      ],
    });
    await journal.accept({ ...message, receivedAt: JOURNAL_BEGIN + 86_400_000 });
    const target = targetOf(server, { host: server.socketDirectory });
    await (await startSink({ journal, target, directory: temporaryDirectory() })).caughtUp();
    const rows = await ask(
      server,
      'SELECT *, tableoid::regclass::text AS partition FROM rollcall_messages ORDER BY position',
    );
    expect(rows).toEqual([
      {
        received_at: new Date(JOURNAL_BEGIN + 1),
        source: 'telemetry',
        position: '1',
        device: 'dev.1',
        stream: 'climate',
        qos: 1,
        device_time: new Date(JOURNAL_BEGIN - 5),
        device_sequence: 7,
        message_key: 'k-1',
        content_type: 'application/cbor',
        payload: Buffer.from([0, 255]),
        payload_format: 0,
        user_properties: [
          { name: 'unit', value: 'celsius' },
          { name: 'unit', value: HOSTILE_TEXT },
        ],
        partition: 'rollcall_messages_20300101',
      },
      expect.objectContaining({
        position: '2',
        device_time: null,
        user_properties: null,
        partition: 'rollcall_messages_20300102',
      }),
    ]);
  });

  it('that an earlier version made gets columns for MQTT 5 properties with the first message that has some', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 1);
    const sink = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory() });
    await sink.caughtUp();
    await ask(server, `ALTER TABLE rollcall_messages ${DROP_COLUMNS}`);
    await journal.fill(['a'], 1, 1);
    await sink.caughtUp();
    expect(await propertiesIn(server)).toEqual([undefined, undefined]);
    await journal.accept(withProperty('b', 'unit'));
    await journal.fill(['a'], 1, 2);
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 4, retries: 0, notice: undefined });
    expect(await propertiesIn(server)).toEqual([null, null, [{ name: 'unit', value: '' }], null]);
  });

  it('without columns for MQTT 5 properties that the user may not add gets the messages, and a notice says what is missing', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 1);
    const owner = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory() });
    await owner.caughtUp();
    await owner.forwarder.close(1000);
    await ask(
      server,
      `ALTER TABLE rollcall_messages ${DROP_COLUMNS}; CREATE ROLE writer LOGIN PASSWORD 'w'; GRANT INSERT ON rollcall_messages TO writer`,
    );
    await journal.accept(withProperty('b', 'unit'));
    const target = targetOf(server, { user: 'writer', password: () => 'w' });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    const status = await sink.caughtUp();
    expect(status).toMatchObject({ forwarded: 2, retries: 0, losses: 0 });
    expect(status.notice?.text).toMatch(/expected the columns payload_format and user_properties in rollcall_messages/);
    await ask(server, 'ALTER TABLE rollcall_messages ADD payload_format smallint, ADD user_properties jsonb');
    await journal.accept(withProperty('c', 'unit'));
    await sink.caughtUp();
    expect(await propertiesIn(server)).toEqual([null, null, [{ name: 'unit', value: '' }]]);
  });

  it('may be away at the start, be killed in the middle and come back: nothing lost, twice or out of order', async () => {
    const server = await postgresServer();
    await server.kill();
    const journal = await openTestJournal();
    await journal.fill(['a', 'b', 'c'], 400);
    const sink = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory(), batch: 30 });
    await sink.until(({ state }) => state === 'down');
    await server.start();
    await sink.until(({ position }) => position >= 300);
    await server.kill();
    await journal.fill(['a', 'b', 'c'], 20, 400);
    await sink.until(({ state }) => state === 'down');
    await server.start();
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 1260, deadLettered: 0 });
    for (const device of ['a', 'b', 'c']) expect(await countsOf(server, device)).toEqual(upTo(420));
  });

  it('keeps each message once, also when it is forwarded again after a crash of ours', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 120);
    for (let life = 0; life < 3; life += 1) {
      const sink = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory() });
      expect(await sink.caughtUp()).toMatchObject({ forwarded: 120 });
      await sink.forwarder.close(1000);
    }
    expect(await countsOf(server, 'a')).toEqual(upTo(120));
  });

  it('may refuse one message by a rule of its own, which is put aside; those around it arrive', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 1);
    const sink = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory(), batch: 100 });
    await sink.caughtUp();
    await ask(
      server,
      `ALTER TABLE rollcall_messages ADD CONSTRAINT no_thirteen CHECK (convert_from(payload, 'UTF8') <> '{"count":13}')`,
    );
    await journal.fill(['a'], 49, 1);
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 49, deadLettered: 1 });
    expect(await countsOf(server, 'a')).toEqual(upTo(50).filter((count) => count !== 13));
    expect(sink.deadLetters()).toMatchObject([
      { reason: expect.stringMatching(/^23514: .*no_thirteen/), message: { position: 14 } },
    ]);
  });

  it('that is slow, or whose table is locked or gone, loses nothing', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 10);
    const target = targetOf(server, { timeout: 200 });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    await sink.caughtUp();
    const { port, user, password } = server;
    const locker = new pg.Client({ host: '127.0.0.1', port, database: 'postgres', user, password });
    await locker.connect();
    await locker.query('BEGIN');
    await locker.query('LOCK TABLE rollcall_messages IN ACCESS EXCLUSIVE MODE');
    await journal.fill(['a'], 10, 10);
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(/statement timeout/);
    await locker.query('ROLLBACK');
    await sink.caughtUp();
    expect(await countsOf(server, 'a')).toEqual(upTo(20));
    await locker.query('ALTER TABLE rollcall_messages RENAME TO moved');
    await journal.fill(['a'], 10, 20);
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(/rollcall_messages|already exists/);
    await locker.query('ALTER TABLE moved RENAME TO rollcall_messages').catch(async () => {
      await locker.query('DROP TABLE rollcall_messages');
      await locker.query('ALTER TABLE moved RENAME TO rollcall_messages');
    });
    await locker.end();
    await sink.caughtUp();
    expect(await countsOf(server, 'a')).toEqual(upTo(30));
  });

  it('that does not know the password says so without repeating it', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 1);
    const target = targetOf(server, { password: () => 'wrong horse' });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    const { reason } = await sink.until(({ state }) => state === 'down');
    expect(reason).toMatch(/^28P01: password authentication failed/);
    expect(reason).not.toContain('wrong horse');
  });

  it('takes rows of a user who may only insert into partitions that exist, and names the right that is missing', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    const owner = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory() });
    await owner.caughtUp();
    await owner.forwarder.close(1000);
    await ask(server, `CREATE ROLE writer LOGIN PASSWORD 'write only'`);
    await ask(server, 'TRUNCATE rollcall_messages');
    const target = targetOf(server, { user: 'writer', password: () => 'write only' });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(
      /^expected the right INSERT on rollcall_messages \(42501: permission denied/,
    );
    await ask(server, 'GRANT INSERT ON rollcall_messages TO writer');
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 5, deadLettered: 0 });
    expect(await countsOf(server, 'a')).toEqual(upTo(5));

    await journal.accept({
      ...{ device: 'a' as DeviceId, stream: 's', qos: 1 as const },
      ...{ receivedAt: JOURNAL_BEGIN + 86_400_000, payload: Buffer.from('{"count":5}') },
    });
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(
      /^expected a partition of rollcall_messages for each of 2030-01-02 \(UTC\), and writer may not make it: .*42501/,
    );
    await ask(
      server,
      `CREATE TABLE of_the_operators PARTITION OF rollcall_messages FOR VALUES FROM ('2030-01-02 00:00Z') TO ('2030-02-01 00:00Z')`,
    );
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 6, deadLettered: 0 });
    expect(await countsOf(server, 'a')).toEqual(upTo(6));
  });

  it('that is missing, and that its user may not make, is named', async () => {
    const server = await postgresServer();
    await ask(server, `CREATE ROLE writer LOGIN PASSWORD 'write only'`);
    const journal = await openTestJournal();
    await journal.fill(['a'], 1);
    const target = targetOf(server, { user: 'writer', password: () => 'write only' });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(
      /^expected the table rollcall_messages, or the right CREATE on its schema to make it \(42501/,
    );
  });

  it('may be one that an operator made without partitions', async () => {
    const server = await postgresServer();
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    await ask(
      server,
      `CREATE TABLE rollcall_messages (received_at timestamptz, source text, position bigint, device text, stream text,
        qos smallint, device_time timestamptz, device_sequence float8, message_key text, content_type text, payload bytea,
        PRIMARY KEY (source, position))`,
    );
    const sink = await startSink({ journal, target: targetOf(server), directory: temporaryDirectory() });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 5 });
  });
});

describeWithClients('a table behind PgBouncer as target', ['postgres', 'pgbouncer'], () => {
  it.each(['session', 'transaction'] as const)(
    'is written to in %s mode, again after a restart of ours',
    async (mode) => {
      const server = await postgresServer();
      const { port } = await pgbouncer(server, mode);
      const journal = await openTestJournal();
      const directory = temporaryDirectory();
      for (let life = 0; life < 3; life += 1) {
        await journal.fill(['a'], 20, life * 20);
        const sink = await startSink({ journal, target: targetOf(server, { port }), directory, batch: 7 });
        expect(await sink.caughtUp()).toMatchObject({ deadLettered: 0 });
        await sink.forwarder.close(1000);
      }
      expect(await countsOf(server, 'a')).toEqual(upTo(60));
    },
  );

  it('leaves no setting behind on a connection that others use, and keeps its own timeout', async () => {
    const server = await postgresServer();
    const { port } = await pgbouncer(server, 'transaction');
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    const target = targetOf(server, { port, timeout: 300 });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    await sink.caughtUp();
    const shown = await ask<{ statement_timeout: string }>({ ...server, port }, 'SHOW statement_timeout');
    expect(shown).toEqual([{ statement_timeout: '0' }]);
    const locker = new pg.Client({
      ...{ host: '127.0.0.1', port: server.port, database: 'postgres' },
      ...credentialsOf(server),
    });
    await locker.connect();
    await locker.query('BEGIN');
    await locker.query('LOCK TABLE rollcall_messages IN ACCESS EXCLUSIVE MODE');
    await journal.fill(['a'], 5, 5);
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(/statement timeout/);
    await locker.end();
    expect(await sink.caughtUp()).toMatchObject({ deadLettered: 0 });
    expect(await countsOf(server, 'a')).toEqual(upTo(10));
  });
});

function credentialsOf({ user, password }: PostgresServer) {
  return { user, password };
}
