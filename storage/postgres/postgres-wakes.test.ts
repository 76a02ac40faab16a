import { once } from 'node:events';
import { it, onTestFinished } from 'vitest';
import { describeWakes, startNode, type WakesFixture } from '../../test/behaviour/wakes.ts';
import { type PostgresCluster, postgresCluster, suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { PostgresDatabase } from './database.ts';
import { PostgresWakes } from './postgres-wakes.ts';
import type { PostgresSettings } from './settings.ts';

/** A fleet is a schema. */
function wakesOn(cluster: PostgresCluster): WakesFixture {
  const fleets = new Map<string, PostgresSettings>();
  return {
    open: (fleet, options) => {
      const own = fleets.get(fleet) ?? cluster.settings();
      fleets.set(fleet, own);
      const database = new PostgresDatabase(own);
      onTestFinished(() => database.close());
      return new PostgresWakes({ database, ...options });
    },
    // Every LISTEN of the nodes ends.
    cut: () =>
      cluster.primary.ask(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rollcall' AND query LIKE ANY (ARRAY['LISTEN%', '%pg_notify%'])`,
      ),
  };
}

describeWithClients('wakes over PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  describeWakes(() => wakesOn(postgres()));

  it('come after a failover from the standby that was promoted', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const fixture = wakesOn(cluster);
    const waking = await startNode(fixture, 'fleet', ['audit']);
    const listening = await startNode(fixture, 'fleet', ['audit']);
    const connected = [waking, listening].map(({ events }) => once(events, 'connected'));
    const woken = [waking, listening].map(({ events }) => once(events, 'audit'));
    await cluster.failOver();
    await Promise.all([...connected, ...woken]);
    const again = once(listening.events, 'audit');
    waking.wakes.wake('audit');
    await again;
  });
});
