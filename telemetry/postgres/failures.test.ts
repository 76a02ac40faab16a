/** What a database that fails does to telemetry: nothing is acknowledged that its quorum does not have, and nothing is lost or stored twice. */

import { expect, it } from 'vitest';
import { Heartbeat } from '../../storage/index.ts';
import { LEASE_TABLES, migrate, NodeLease } from '../../storage/postgres/index.ts';
import { deviceNamed, message, texts } from '../../test/behaviour/telemetry-messages.ts';
import { postgresCluster } from '../../test/fixtures/postgres-cluster.ts';
import { openNode } from '../../test/fixtures/postgres-journal.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { Telemetry } from '../telemetry.ts';

const PUMP = deviceNamed('pump-1');
const LIMITS = { patience: 120_000, retryEvery: 20 };
const TIMEOUTS = { commit: 1_000, retry: 1_000, lock: 1_000 };

function untilPressure(telemetry: Telemetry): Promise<void> {
  return new Promise((resolve) => {
    const stop = telemetry.onPressure((isUnderPressure) => {
      if (!isUnderPressure) return;
      stop();
      resolve();
    });
  });
}

const payloads = async (telemetry: Telemetry) => {
  const found: string[] = [];
  for await (const page of telemetry.pages({})) found.push(...texts(page));
  return found;
};

describeWithClients('telemetry in a database that fails', ['postgres'], () => {
  it('is held while the standbys of the quorum are gone, and is acknowledged and stored once when one is back', async () => {
    const cluster = await postgresCluster({ standbys: 2, settings: ['wal_retrieve_retry_interval=100ms'] });
    const telemetry = await openNode(await cluster.open({ timeouts: TIMEOUTS }), 'a', { limits: LIMITS });
    await telemetry.accept(message('pump-1', 'before'));
    await Promise.all(cluster.standbys.map((standby) => standby.kill()));
    const acknowledged: string[] = [];
    const pressed = untilPressure(telemetry);
    const waiting = ['a', 'b'].map((text, i) =>
      telemetry.accept({ ...message('pump-1', text), key: `${i}.e` }).then(() => acknowledged.push(text)),
    );
    await pressed;
    // Their commits end with the warning that no standby has them.
    const cancelled = await cluster.primary.ask(
      `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`,
    );
    expect(cancelled.length).toBeGreaterThan(0);
    await cluster.primary.ask('SELECT pg_sleep(1.5)');
    expect(acknowledged).toEqual([]);
    expect(telemetry.counters()).toMatchObject({ stored: 1, isHeld: true, isUnderPressure: true });
    const [standby] = cluster.standbys;
    await standby?.start();
    await Promise.all(waiting);
    expect(await payloads(telemetry)).toEqual(['before', 'a', 'b']);
    expect(telemetry.counters()).toMatchObject({ stored: 3, isHeld: false });
  });

  it('has everything that was acknowledged, in order and once, after its primary was killed', async () => {
    const cluster = await postgresCluster({ standbys: 2, settings: ['wal_retrieve_retry_interval=100ms'] });
    const telemetry = await openNode(await cluster.open({ timeouts: TIMEOUTS }), 'a', {
      limits: LIMITS,
      marks: { index: 200, keys: 200 },
    });
    const devices = Array.from({ length: 10 }, (_, i) => `dev-${i}`);
    const acknowledged = new Map<string, number[]>(devices.map((device) => [device, []]));
    let isEnding = false;
    const publish = async (device: string) => {
      for (let number = 1; !isEnding; number += 1) {
        await telemetry.accept({ ...message(device, `${number}`), key: `${number}.e` });
        acknowledged.get(device)?.push(number);
      }
    };
    const publishing = Promise.all(devices.map(publish));
    const acknowledgedAll = () => [...acknowledged.values()].reduce((sum, { length }) => sum + length, 0);
    const untilMore = async (count: number) => {
      while (acknowledgedAll() < count) await telemetry.accept(message('clock', ''));
    };
    await untilMore(500);
    await cluster.failOver();
    await untilMore(acknowledgedAll() + 500);
    isEnding = true;
    await publishing;
    for (const device of devices) {
      const found = await telemetry.query({ device: deviceNamed(device), limit: 10_000 });
      const stored = texts(found).map(Number);
      expect(stored).toEqual(Array.from({ length: stored.length }, (_, i) => i + 1));
      expect(stored.length).toBeGreaterThanOrEqual(acknowledged.get(device)?.length ?? 0);
    }
  });

  it('is not acknowledged any more once a primary has not received all that was, and the node has lost its name', async () => {
    const cluster = await postgresCluster({ standbys: 1, settings: ['synchronous_standby_names='] });
    const [standby] = cluster.standbys;
    const database = await cluster.open({ timeouts: TIMEOUTS });
    await migrate(database, LEASE_TABLES);
    const now = () => performance.now();
    const heartbeat = new Heartbeat({ now, schedule: () => () => {} });
    const lost = Promise.withResolvers<string | undefined>();
    // No heartbeat follows what is lost.
    const lease = await NodeLease.take({
      ...{ database, node: 'a', heartbeat, now, every: 3_600_000, onLost: lost.resolve },
    });
    const telemetry = await openNode(database, 'a', { limits: LIMITS });
    await telemetry.accept(message('pump-1', 'before'));
    const received = `SELECT count(*)::int AS n FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_flush_lsn()`;
    await expect.poll(() => cluster.primary.ask(received), { timeout: 10_000 }).toEqual([{ n: 1 }]);
    await standby?.stop();
    expect(await telemetry.accept(message('pump-2', 'acknowledged'))).toBe('stored');
    await cluster.primary.kill();
    await standby?.start();
    await standby?.promote();
    await expect(telemetry.accept(message('pump-3', 'after'))).rejects.toMatchObject({ code: 'database_restored' });
    expect(await lost.promise).toMatch(/without it$/);
    expect([lease.epoch, heartbeat.liveness]).toEqual([1, 'expired']);
    await expect(telemetry.accept(message('pump-2', 'again'))).rejects.toMatchObject({ code: 'database_restored' });
    await lease.release();
    expect(await payloads(telemetry)).toEqual(['before']);
  });

  it('is held while the disk of the database is full, and goes on where it was', async () => {
    const cluster = await postgresCluster();
    const database = await cluster.open({ timeouts: TIMEOUTS });
    const telemetry = await openNode(database, 'a', { limits: LIMITS });
    await telemetry.accept(message('pump-1', 'before'));
    // What the server answers when its disk is full.
    await database.execute(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`);
    await database.execute(
      'CREATE TRIGGER full_disk BEFORE INSERT ON telemetry_blocks FOR EACH ROW EXECUTE FUNCTION full_disk()',
    );
    const pressed = untilPressure(telemetry);
    const waiting = Promise.all([telemetry.accept(message('pump-1', 'a')), telemetry.accept(message('pump-1', 'b'))]);
    await pressed;
    expect(telemetry.counters()).toMatchObject({ stored: 1, isHeld: true });
    expect(texts(await telemetry.query({ device: PUMP, limit: 9 }))).toEqual(['before']);
    await database.execute('DROP TRIGGER full_disk ON telemetry_blocks');
    await waiting;
    expect(await payloads(telemetry)).toEqual(['before', 'a', 'b']);
  });
});
