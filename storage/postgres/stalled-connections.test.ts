import { expect, it, onTestFinished } from 'vitest';
import { startInterruptingProxy } from '../../test/fixtures/interrupting-proxy.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { USER } from '../../test/fixtures/postgres-template.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { PostgresConnection } from './connection.ts';
import { PostgresDatabase } from './database.ts';
import { StalledConnections } from './stalled-connections.ts';

describeWithClients('a connection whose packets were lost for a while', ['postgres'], () => {
  const postgres = suitePostgres();

  /** Over a proxy, with what looks after it: for it, each statement has waited long enough at once. */
  async function connected() {
    const proxy = await startInterruptingProxy(postgres().primary.port);
    const address = { host: '127.0.0.1', port: proxy.port };
    const settings = postgres().settings({ hosts: [address] });
    let opened = 0;
    const stalled = new StalledConnections({
      open: (like) => {
        opened += 1;
        return PostgresConnection.open(like.address, settings);
      },
      now: () => performance.now() + 10_000,
    });
    const connection = await PostgresConnection.open(address, settings);
    onTestFinished(() => connection.destroy());
    stalled.add(connection);
    return { proxy, settings, stalled, connection, opened: () => opened };
  }

  it('is ended when its server is found twice to wait for its next statement', async () => {
    const { proxy, stalled, connection, opened } = await connected();
    await stalled.look();
    expect(opened()).toBe(0);
    proxy.stall();
    const sent = connection.query('SELECT 1').catch((error: unknown) => error);
    await stalled.look();
    expect(connection.isLost).toBe(false);
    await stalled.look();
    expect(connection.isLost).toBe(true);
    expect(await sent).toBeInstanceOf(Error);
    expect(opened()).toBe(1);
  });

  it('is ended when its server has ended the session', async () => {
    const { proxy, stalled, connection } = await connected();
    proxy.stall();
    void connection.query('SELECT 1').catch(() => {});
    await postgres().primary.ask(`SELECT pg_terminate_backend(${connection.process}, 5000)`);
    await stalled.look();
    await stalled.look();
    expect(connection.isLost).toBe(true);
  });

  it('is ended by a login role that acts as another role, which sees no sessions of it', async () => {
    const { primary } = postgres();
    await primary.ask(`CREATE ROLE a_fleet NOLOGIN; GRANT a_fleet TO ${USER}; ALTER ROLE ${USER} SET role = 'a_fleet'`);
    onTestFinished(async () => void (await primary.ask(`ALTER ROLE ${USER} RESET role; DROP ROLE a_fleet`)));
    const { proxy, stalled, connection } = await connected();
    expect((await connection.query('SELECT current_user AS name')).rows).toEqual([{ name: 'a_fleet' }]);
    proxy.stall();
    void connection.query('SELECT 1').catch(() => {});
    await stalled.look();
    await stalled.look();
    expect(connection.isLost).toBe(true);
  });

  it('is left alone while its server works on its statement', async () => {
    const { stalled, connection } = await connected();
    void connection.query('SELECT pg_sleep(600)').catch(() => {});
    for (let looks = 0; looks < 3; looks += 1) await stalled.look();
    expect(connection.isLost).toBe(false);
  });

  it('makes a read wait for no longer than it takes to find that out', async () => {
    const { proxy, settings } = await connected();
    const database = new PostgresDatabase(settings);
    onTestFinished(() => database.close());
    await database.query('SELECT 1');
    proxy.stall();
    expect((await database.query('SELECT 2 AS two')).rows).toEqual([{ two: 2 }]);
  });
});
