/** What an operator asks about sessions: any node answers for all of them, and names one that does not answer. */

import { expect, it } from 'vitest';
import { type ClusterNode, sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt, startMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 180_000;

describeWithClients('two nodes with one store', ['postgres'], () => {
  const postgres = suitePostgres();

  it(
    'either lists, shows and ends the sessions of both, and names the other one while it is stopped',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const b = await store.node('b', { like: a });
      const pumps = [await a.enroll('pump-1'), await a.enroll('pump-2')];
      await connectMqtt(a.reached(pumps[0] as never));
      const client = startMqtt(b.reached(pumps[1] as never), { reconnectPeriod: 0 });
      await new Promise((resolve) => client.once('connect', resolve));
      const listed = async (node: ClusterNode, query: Parameters<typeof a.operator.listSessions>[0] = {}) => {
        const { sessions, unanswered } = await node.operator.listSessions(query);
        return { sessions: sessions.map((one) => [one.clientId, one.node]), unanswered };
      };
      const both = [
        ['pump-1', 'a'],
        ['pump-2', 'b'],
      ];
      // A node that is asked may answer too late.
      for (const node of [a, b]) await expect.poll(() => listed(node)).toEqual({ sessions: both, unanswered: [] });
      await expect.poll(() => listed(a, { node: 'b' })).toEqual({ sessions: both.slice(1), unanswered: [] });
      await expect(listed(a, { node: 'z' })).rejects.toMatchObject({ code: 'node_unknown' });
      const shown = () => a.operator.showDevice({ id: 'pump-2' });
      await expect.poll(shown).toMatchObject({ session: { node: 'b' }, unanswered: [] });
      const diagnosed = () => a.operator.diagnoseDevice({ id: 'pump-2' });
      await expect.poll(diagnosed).toMatchObject({ session: { node: 'b' } });
      const printed = async () => (await rollcall(['device', 'show', 'pump-2', '--data', a.data])).stdout;
      await expect.poll(printed).toMatch(/^session {3}on b, from 127\.0\.0\.1 since 2/m);

      const ended = new Promise<void>((resolve) => client.once('close', () => resolve()));
      const done = await rollcall(['device', 'disconnect', 'pump-2', '--data', a.data]);
      expect(done).toMatchObject({ code: 0 });
      await ended;
      await expect.poll(() => listed(a)).toEqual({ sessions: both.slice(0, 1), unanswered: [] });

      process.kill(b.server.pid, 'SIGSTOP');
      expect(await listed(a)).toEqual({ sessions: both.slice(0, 1), unanswered: ['b'] });
      process.kill(b.server.pid, 'SIGCONT');
    },
    STARTS_MS,
  );
});
