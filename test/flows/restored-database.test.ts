/** The database of several nodes goes back to an earlier state: a backup of it is restored. Real processes and a real PostgreSQL. */

import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import { sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { postgresCluster } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 180_000;
/** With its owner, which PostgreSQL insists on. */
const copy = (from: string, to: string) => execFileSync('cp', ['-a', from, to]);

describeWithClients('a database that was restored from a backup', ['postgres'], () => {
  it(
    'ends the nodes that run, is refused by those that saw more, and is served once an operator accepts it, which the audit has',
    async () => {
      const cluster = await postgresCluster();
      const store = await sharedStore(cluster);
      const first = await store.node('a');
      const pump = await first.enroll('pump-1');
      await first.server.end('SIGTERM');
      const { primary } = cluster;
      const backup = `${primary.data}.backup`;
      await primary.stop();
      copy(primary.data, backup);
      await primary.start();

      const a = await store.node('a', { data: first.data });
      const b = await store.node('b', { like: a });
      const send = async (node: typeof a) => {
        const client = await connectMqtt(node.reached(pump));
        await client.publishAsync('devices/pump-1/telemetry/heat', '21.5', { qos: 1 });
        await client.endAsync();
        const [message] = await node.operator.queryTelemetry({ device: 'pump-1', limit: 1 });
        return message?.position;
      };
      const given = await send(a);
      await b.operator.revokeDevices({ ids: ['pump-1'], reason: 'keyCompromise' });
      await b.server.end('SIGTERM');

      await primary.kill();
      rmSync(primary.data, { recursive: true });
      copy(backup, primary.data);
      await primary.start();
      // The one that runs finds it with its next heartbeat, and both find it when they start.
      const lacks = /the database lacks what it had confirmed/;
      expect(await a.server.ended).toMatchObject({ code: 1, stderr: expect.stringMatching(lacks) });
      for (const node of [a, b]) {
        const refused = await store.refused(node.name, { data: node.data });
        expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/rollcall node accept-restored/) });
      }

      const environment = { ...store.settings, ROLLCALL_STORE_URL: store.url };
      const accept = (node: typeof a) =>
        rollcall(['node', 'accept-restored', '--data', node.data, '--node-name', node.name], { environment });
      expect(await accept(a)).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^accepted as generation 2 of the store: it ends with audit entry \d+ of /),
        stderr: expect.stringContaining('repeat the revocations'),
      });
      expect(await accept(a)).toMatchObject({ code: 2, stderr: expect.stringContaining('accepted already') });
      const again = await store.node('a', { data: a.data });
      await store.node('b', { data: b.data });
      const actions = (await again.operator.listAudit()).map(({ action }) => action);
      expect(actions).toContain('fleet.restored');
      expect(actions).not.toContain('device.revoked');
      // A position that was given before is not given to another message.
      expect(await send(again)).not.toBe(given);
    },
    STARTS_MS,
  );

  it(
    'is found too when a standby becomes the primary that did not receive the last commits',
    async () => {
      // No commit waits for the standby.
      const cluster = await postgresCluster({ standbys: 1, settings: ['synchronous_standby_names='] });
      const store = await sharedStore(cluster);
      const a = await store.node('a');
      await a.enroll('pump-1');
      const [standby] = cluster.standbys;
      await standby?.stop();
      await a.operator.revokeDevices({ ids: ['pump-1'], reason: 'keyCompromise' });
      await cluster.primary.kill();
      await standby?.start();
      await standby?.promote();
      const lacks = /the database lacks what it had confirmed/;
      expect(await a.server.ended).toMatchObject({ code: 1, stderr: expect.stringMatching(lacks) });
      const refused = await store.refused('a', { data: a.data });
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/rollcall node accept-restored/) });
    },
    STARTS_MS,
  );
});
