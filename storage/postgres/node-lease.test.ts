import { EventEmitter, once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { LeaseProcess } from '../../test/fixtures/lease-process.ts';
import { type PostgresCluster, postgresCluster, suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PASSWORD } from '../../test/fixtures/postgres-template.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { Heartbeat } from '../heartbeat.ts';
import type { PostgresDatabase } from './database.ts';
import { LEASE_TABLES, LeaseTable } from './leases.ts';
import { migrate } from './migrations.ts';
import { NODE_LEASES, NodeLease } from './node-lease.ts';
import type { PostgresSettings } from './settings.ts';

/** Longer than a busy machine holds a process up. */
const DEAF_AFTER = 1_500;
const EVERY = 100;
const now = () => performance.now();

async function openWithTables(cluster: PostgresCluster) {
  const settings = cluster.settings();
  const database = await cluster.open(settings);
  await migrate(database, LEASE_TABLES);
  return { settings, database };
}

/** A node in this process; emits its liveness and `lost`. */
async function takeNode(database: PostgresDatabase, node: string) {
  const events = new EventEmitter();
  const heartbeat = new Heartbeat({
    now,
    schedule: (milliseconds, action) => {
      const timer = setTimeout(action, milliseconds);
      return () => clearTimeout(timer);
    },
    deafAfter: DEAF_AFTER,
    onChange: (liveness) => events.emit(liveness),
  });
  const options = { database, node, heartbeat, now, every: EVERY, duration: DEAF_AFTER };
  const lease = await NodeLease.take({ ...options, onLost: (missing) => events.emit('lost', missing) });
  onTestFinished(async () => {
    await lease.release();
    heartbeat.close();
  });
  return { lease, heartbeat, events };
}

function startProcess({ hosts, database, user, schema }: PostgresSettings, node: string): LeaseProcess {
  const settings = { hosts, database, user, schema, password: PASSWORD };
  return new LeaseProcess({ settings, kind: 'node', node, duration: DEAF_AFTER, every: EVERY });
}

describeWithClients('the lease of a node', ['postgres'], () => {
  const postgres = suitePostgres();

  it.each([
    ['counts fewer renewals', 'UPDATE leases SET renewals = renewals - 3'],
    ['lacks the lease', 'DELETE FROM leases'],
  ])('ends the node when its database went back to an earlier state, so that it %s', async (_what, change) => {
    const { database } = await openWithTables(postgres());
    const { lease, heartbeat, events } = await takeNode(database, 'a');
    while (lease.renewals < 4) await once(events, 'alive', { signal: AbortSignal.timeout(EVERY) }).catch(() => {});
    const lost = once(events, 'lost');
    await database.execute(change);
    expect(await lost).toEqual([
      expect.stringMatching(/^expected at least \d+ renewals of the lease node\/a, .* found \d+$/),
    ]);
    expect(heartbeat.liveness).toBe('expired');
  });

  it('is refused to a second process with the name, and taken by one after the first was killed', async () => {
    const { settings, database } = await openWithTables(postgres());
    const first = startProcess(settings, 'a');
    expect(await first.next()).toBe('alive');
    expect(await first.next()).toBe('taken 1');
    await expect(takeNode(database, 'a')).rejects.toMatchObject({
      code: 'node_exists',
      reason: 'expected no process that renews the lease of a, found one with epoch 1',
    });
    await first.kill();
    const { lease, heartbeat } = await takeNode(database, 'a');
    expect(lease.epoch).toBe(2);
    expect(heartbeat.liveness).toBe('alive');
  });

  it('is free at once when the node releases it, and lists the nodes with their last renewals', async () => {
    const { database } = await openWithTables(postgres());
    const [a, b] = await Promise.all([takeNode(database, 'a'), takeNode(database, 'b')]);
    await a.lease.release();
    expect(a.heartbeat.liveness).toBe('expired');
    const records = await new LeaseTable({ database, node: 'c', now }).list(NODE_LEASES);
    expect(records).toMatchObject([
      { name: 'node/a', node: undefined, epoch: 1 },
      { name: 'node/b', node: 'b', epoch: 1, holder: b.lease.holder },
    ]);
    expect((await takeNode(database, 'a')).lease.epoch).toBe(2);
  });

  it('is lost to another process that has the name: the node is expired at once', async () => {
    const { settings, database } = await openWithTables(postgres());
    const { heartbeat, events } = await takeNode(database, 'a');
    const told = [once(events, 'expired'), once(events, 'lost')];
    await postgres().primary.ask(`UPDATE ${settings.schema}.leases SET holder = 'other', epoch = epoch + 1`);
    await Promise.all(told);
    expect(heartbeat.liveness).toBe('expired');
  });

  it('keeps a node alive that renews it, deaf while the standbys are lost, and alive again when one is back', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const { database } = await openWithTables(cluster);
    const { events, heartbeat } = await takeNode(database, 'a');
    await database.query(`SELECT pg_sleep(${(2 * DEAF_AFTER) / 1000})`);
    await expect.poll(() => heartbeat.liveness).toBe('alive');
    const silent = once(events, 'deaf');
    await Promise.all(cluster.standbys.map((standby) => standby.stop()));
    await silent;
    const alive = once(events, 'alive');
    await cluster.standbys[1]?.start();
    await alive;
  });

  it('survives a failover with the same epoch', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const { database } = await openWithTables(cluster);
    const { events, lease } = await takeNode(database, 'a');
    const changes: string[] = [];
    for (const name of ['deaf', 'alive', 'lost']) events.on(name, () => changes.push(name));
    const deaf = once(events, 'deaf');
    await cluster.primary.kill();
    await deaf;
    const alive = once(events, 'alive');
    await cluster.failOver();
    await alive;
    expect(changes).toEqual(['deaf', 'alive']);
    const [record] = await new LeaseTable({ database, node: 'b', now }).read(['node/a']);
    expect(record).toMatchObject({ node: 'a', epoch: lease.epoch });
  });
});
