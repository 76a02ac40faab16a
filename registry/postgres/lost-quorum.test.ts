/** What a registry does when a commit is not confirmed: it may be stored, so nothing may count twice and no revocation may be forgotten. */

import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { PostgresDatabase, PostgresWakes } from '../../storage/postgres/index.ts';
import { device, OPERATOR, RegistryFixture } from '../../test/behaviour/registry-fixture.ts';
import { type PostgresCluster, postgresCluster } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { openPostgresRegistry } from '../open.ts';
import type { Registry, Revocation } from '../registry.ts';

describeWithClients('a registry whose standbys are lost', ['postgres'], () => {
  async function open(cluster: PostgresCluster): Promise<RegistryFixture> {
    const settings = cluster.settings({ connections: 4 });
    const openOnce = async (now: () => number): Promise<Registry> => {
      const database = new PostgresDatabase(settings);
      const wakes = new PostgresWakes({ database });
      const registry = await openPostgresRegistry({ database, wakes, node: 'a', now, log: pino({ level: 'silent' }) });
      onTestFinished(async () => {
        await wakes.close();
        await registry.close();
      });
      return registry;
    };
    return RegistryFixture.open(async (now) => ({ registry: await openOnce(now), reopen: () => openOnce(now) }));
  }

  /** Stops the standbys, and ends the wait for them of what `act` commits. */
  async function withoutQuorum(cluster: PostgresCluster, act: () => Promise<unknown>): Promise<unknown> {
    await Promise.all(cluster.standbys.map((standby) => standby.stop()));
    const done = act().catch((error: unknown) => error);
    const waiting = `SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
    await expect.poll(() => cluster.primary.ask(waiting)).toHaveLength(1);
    await cluster.primary.ask(`SELECT pg_cancel_backend(pid) FROM (${waiting}) AS waits`);
    const result = await done;
    await Promise.all(cluster.standbys.map((standby) => standby.start()));
    return result;
  }

  it('reports no enrollment, and the same claim gets one certificate for one use of the token later', async () => {
    const cluster = await postgresCluster({ standbys: 1 });
    const fleet = await open(cluster);
    const token = await fleet.mint({ maxUses: 2 });
    const claim = fleet.claim({ token, id: 'pump-1', key: 'k' });
    expect(await withoutQuorum(cluster, () => fleet.registry.commitEnrollment(claim))).toMatchObject({
      code: 'unavailable',
      why: 'quorum lost',
    });
    expect(await fleet.registry.commitEnrollment(claim)).toMatchObject({ outcome: 'replayed' });
    expect(await fleet.registry.findToken(token.record.id)).toMatchObject({ uses: 1 });
    expect(await fleet.registry.verifyAudit()).toMatchObject({ fault: undefined });
  });

  it('has its listeners end the sessions of a revocation that it could not report', async () => {
    const cluster = await postgresCluster({ standbys: 1 });
    const fleet = await open(cluster);
    await fleet.enroll('pump-1');
    const heard: Revocation[] = [];
    fleet.registry.onRevocation((revocation) => {
      heard.push(revocation);
    });
    const revoke = () => fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
    expect(await withoutQuorum(cluster, revoke)).toMatchObject({ code: 'unavailable', why: 'quorum lost' });
    await expect.poll(() => heard).toMatchObject([{ holder: { id: 'pump-1' }, reason: 'keyCompromise' }]);
  });
});
