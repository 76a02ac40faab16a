/** Two servers with one store on PostgreSQL: what one does, the other knows. Real processes and real devices. */

import { beforeEach, expect, it } from 'vitest';
import { type ClusterNode, type SharedStore, sharedStore } from '../fixtures/cluster-node.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 60_000;
/** A lease of a node that was killed is free after ten seconds. */
const PATIENT = { timeout: 40_000 };

describeWithClients('two nodes with one store', ['postgres'], () => {
  const postgres = suitePostgres();
  let store: SharedStore;
  let a: ClusterNode;
  let b: ClusterNode;

  beforeEach(async () => {
    store = await sharedStore(postgres());
    a = await store.node('a');
    b = await store.node('b', { like: a });
  }, STARTS_MS);

  it(
    'a device of one is served and revoked by either, and each entry of the audit becomes one event, also after a node was killed',
    async () => {
      const pump = await a.enroll('pump-1');
      const client = await connectMqtt(b.reached(pump));
      await client.publishAsync('devices/pump-1/telemetry/heat', '21.5', { qos: 1 });
      for (const node of [a, b]) {
        expect(await node.operator.queryTelemetry({ device: 'pump-1', limit: 10 })).toMatchObject([{ stream: 'heat' }]);
      }
      const ended = closed(client);
      expect(await a.operator.revokeDevices({ ids: ['pump-1'], reason: 'keyCompromise' })).toMatchObject({
        sessionsClosed: 1,
        brokersConfirmed: 2,
      });
      await ended;
      await expect(connectMqtt(b.reached(pump))).rejects.toThrow();
      const enrolled = async () => {
        const found = await b.operator.listEvents({ type: 'enroll.enrolled', limit: 100 });
        return found.map(({ subject }) => subject);
      };
      await expect.poll(enrolled, PATIENT).toEqual(['devices/pump-1']);
      // It turned the audit into events, which the other node goes on with.
      await a.server.end('SIGKILL');
      await b.enroll('pump-2');
      await expect.poll(enrolled, PATIENT).toEqual(['devices/pump-1', 'devices/pump-2']);
    },
    STARTS_MS,
  );
});
