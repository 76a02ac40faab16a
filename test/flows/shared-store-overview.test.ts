/** The numbers of a fleet: any node answers for all, with a row for each, and names one that does not answer. */

import { expect, it } from 'vitest';
import type { ServerSnapshot } from '../../cli/top/server-snapshot.ts';
import { type ClusterNode, sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 240_000;
/** A node that is starved of CPU for a second is deaf until it is heard again. */
const POLL = { timeout: 30_000, interval: 100 };

describeWithClients('two nodes with one store', ['postgres'], () => {
  const postgres = suitePostgres();

  it(
    'each answer with the numbers of both, and one that is stopped is named and missing',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const b = await store.node('b', { like: a });
      const onA = await connectMqtt(a.reached(await a.enroll('pump-1')));
      await onA.publishAsync('devices/pump-1/telemetry/flow', '1', { qos: 1 });
      for (const id of ['pump-2', 'pump-3']) await connectMqtt(b.reached(await a.enroll(id)));

      const rowsOf = ({ nodes }: Awaited<ReturnType<ClusterNode['operator']['showFleet']>>) =>
        nodes.map(({ name, state, figures }) => [
          name,
          state,
          figures?.sessions.connected,
          figures?.totals.stored,
          figures?.isReady,
        ]);
      const rows = [
        ['a', 'serving', 1, 1, true],
        ['b', 'serving', 2, 0, true],
      ];
      for (const { name, operator } of [a, b]) {
        await expect.poll(async () => rowsOf(await operator.showFleet()), POLL).toEqual(rows);
        const overview = await operator.showOverview();
        expect(overview).toMatchObject({ node: name, sessions: { connected: 3 }, unanswered: [], isReady: true });
        expect(overview.journal).toMatchObject({ state: 'ok', diskFreeBytes: expect.any(Number) });
        expect(await operator.telemetryStats()).toMatchObject({ intake: { stored: 1 }, unanswered: [] });
        expect(await operator.health()).toMatchObject({ node: name });
        expect(await operator.metrics()).toMatch(new RegExp(`^rollcall_info\\{.*node="${name}"\\} 1$`, 'm'));
      }
      expect(await a.operator.showHistory()).toMatchObject({ node: 'a', unanswered: [] });
      const { findings } = await b.operator.examineServer({ nodes: 'all' });
      expect(findings.find(({ check }) => check === 'nodes')).toMatchObject({ nodes: ['a', 'b'] });
      expect(findings.filter(({ check }) => check === 'version').flatMap(({ nodes }) => nodes)).toEqual(['a', 'b']);

      const { stdout } = await rollcall(['top', '--once', '--json', '--data', b.data]);
      const snapshot = JSON.parse(stdout) as ServerSnapshot;
      expect(snapshot).toMatchObject({ node: 'b', sessions: 3, messages: { stored: { total: 1 } }, unanswered: [] });
      expect(snapshot.nodes.map(({ sessions }) => sessions)).toEqual([1, 2]);

      process.kill(b.server.pid, 'SIGSTOP');
      await expect.poll(async () => (await a.operator.showFleet()).unanswered, POLL).toEqual(['b']);
      const without = await a.operator.showOverview();
      expect(without).toMatchObject({ sessions: { connected: 1 }, unanswered: ['b'] });
      expect(without.nodes.map(({ name, figures }) => [name, figures?.sessions.connected])).toEqual([
        ['a', 1],
        ['b', undefined],
      ]);
      process.kill(b.server.pid, 'SIGCONT');
    },
    STARTS_MS,
  );
});
