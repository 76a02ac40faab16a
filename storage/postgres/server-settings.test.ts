import { describe, expect, it, onTestFinished } from 'vitest';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { measureClockSkew } from './database-clock.ts';
import { demandedStandbys, expectServerSettings } from './server-settings.ts';

describe('the standbys that synchronous_standby_names demands', () => {
  it.each([
    ['', 0],
    ['a', 1],
    ['a, b', 1],
    ['*', 1],
    ['2 (a, b, c)', 2],
    ['FIRST 3 (a, b, c)', 3],
    ['ANY 1 (a, b)', 1],
    ['any 2(*)', 2],
    ['"any 2 (x)"', 1],
  ])('are counted in %j', (names, count) => {
    expect(demandedStandbys(names)).toBe(count);
  });
});

it('a server before version 15 is refused', () => {
  const found = {
    ...{ version: '140012', process: 1 },
    read_only: 'off',
    synchronous_commit: 'on',
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_standby_names: '',
    numbers_its_log: true,
  };
  expect(() => expectServerSettings(found, 0)).toThrow(
    expect.objectContaining({
      code: 'database_server_unsupported',
      reason: 'expected PostgreSQL 15 or newer, found 140012',
    }),
  );
});

describeWithClients('a server of PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  async function change(setting: string, value: string): Promise<void> {
    const { primary } = postgres();
    onTestFinished(async () => {
      await primary.ask(`ALTER SYSTEM RESET ${setting}`);
      await primary.ask('SELECT pg_reload_conf()');
      await settled(setting, value, false);
    });
    await primary.set(setting, value);
    await settled(setting, value, true);
  }

  /** The server's processes take a new configuration one after the other. */
  async function settled(setting: string, value: string, isSet: boolean): Promise<void> {
    const shown = () => postgres().primary.ask(`SELECT current_setting('${setting}') = '${value}' AS same`);
    await expect.poll(shown).toEqual([{ same: isSet }]);
  }

  it.each([
    ['fsync', 'off', 'on'],
    ['full_page_writes', 'off', 'on'],
    ['synchronous_commit', 'off', 'on'],
    ['synchronous_commit', 'local', 'on'],
  ])('is refused with %s = %s, which the message names', async (setting, found, expected) => {
    await change(setting, found);
    const database = await postgres().open();
    await expect(database.query('SELECT 1')).rejects.toMatchObject({
      code: 'database_settings_refused',
      reason: expect.stringContaining(`expected ${setting} to be ${expected}, found ${found}`),
      hint: expect.stringContaining(`set ${setting} = on`),
    });
  });

  it('is refused without the standbys that are asked for, and accepted once it demands them', async () => {
    const database = await postgres().open({ standbys: 2 });
    await expect(database.query('SELECT 1')).rejects.toMatchObject({
      code: 'database_settings_refused',
      reason: expect.stringContaining('synchronous_standby_names to be a list that demands 2 standbys, found none'),
    });
    await change('synchronous_standby_names', 'ANY 1 (a, b)');
    await expect(database.query('SELECT 1')).rejects.toMatchObject({
      reason: expect.stringContaining('found ANY 1 (a, b)'),
    });
    await change('synchronous_standby_names', 'ANY 2 (a, b)');
    await database.query('SELECT 1');
  });

  it('is refused by a check when its settings have changed under open connections', async () => {
    const database = await postgres().open();
    await database.check();
    await change('fsync', 'off');
    await expect(database.check()).rejects.toMatchObject({ code: 'database_settings_refused' });
  });

  it('waits for the disk in sessions that were opened before synchronous_commit was turned off', async () => {
    const database = await postgres().open({ connections: 1 });
    await database.check();
    await change('synchronous_commit', 'off');
    const { rows } = await database.query('SHOW synchronous_commit');
    expect(rows).toEqual([{ synchronous_commit: 'on' }]);
  });

  it('has a clock that is compared with the one of this node', async () => {
    const database = await postgres().open();
    const { skew, uncertainty } = await measureClockSkew(database, () => Date.now() - 60_000);
    expect(Math.abs(skew - 60_000)).toBeLessThanOrEqual(uncertainty);
  });
});
