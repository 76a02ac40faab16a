/** Two servers with one store on PostgreSQL: what one does, the other knows. Real processes and real devices. */

import { beforeEach, expect, it } from 'vitest';
import { type ClusterNode, type SharedStore, sharedStore } from '../fixtures/cluster-node.ts';
import { closed, connectMqtt, startMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';

const STARTS_MS = 180_000;
/** A lease of a node that was killed is free after ten seconds. */
const PATIENT = { timeout: 120_000 };

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
    'a device and its session are served and revoked by either, and each entry of the audit becomes one event, also after a node was killed',
    async () => {
      const pump = await a.enroll('pump-1');
      const app = await connectMqtt(await issueService(b, 'backend'));
      const heard: string[] = [];
      app.on('message', (topic) => heard.push(topic));
      await app.subscribeAsync(['devices/+/telemetry/+', '$fleet/events/#'], { qos: 1 });
      const times = (topic: string) => heard.filter((one) => one === topic).length;

      const first = await connectMqtt(a.reached(pump), { clean: false });
      await first.subscribeAsync('devices/pump-1/commands/+/+', { qos: 1 });
      await first.publishAsync('devices/pump-1/telemetry/heat', '21.5', { qos: 1 });
      await expect.poll(() => times('devices/pump-1/telemetry/heat'), PATIENT).toBe(1);
      for (const node of [a, b]) {
        expect(await node.operator.queryTelemetry({ device: 'pump-1', limit: 10 })).toMatchObject([{ stream: 'heat' }]);
      }
      await first.endAsync();
      const client = startMqtt(b.reached(pump), { clean: false });
      const connack = await new Promise((resolve) => client.once('connect', resolve));
      expect(connack).toMatchObject({ sessionPresent: true });

      const shown = () => a.operator.showDevice({ id: 'pump-1' });
      await expect.poll(shown, PATIENT).toMatchObject({ online: true, broker: 'b' });
      // A node is asked, and may answer too late.
      const printed = async () => (await rollcall(['device', 'show', 'pump-1', '--data', a.data])).stdout;
      await expect.poll(printed).toMatch(/^session {3}on b, from 127\.0\.0\.1 since 2/m);
      const diagnosed = () => a.operator.diagnoseDevice({ id: 'pump-1' });
      await expect.poll(diagnosed).toMatchObject({ online: true, broker: 'b' });

      const ended = closed(client);
      await a.operator.revokeDevices({ ids: ['pump-1'], reason: 'keyCompromise' });
      await ended;
      // Also of a node that confirms later than the order waits for it.
      const nodes = ['a', 'b'].map((name) => ({ name, state: 'confirmed' }));
      await expect.poll(shown, PATIENT).toMatchObject({ lastChange: { nodes } });
      await expect(connectMqtt(b.reached(pump))).rejects.toThrow();
      const enrolled = async () => {
        const found = await b.operator.listEvents({ type: 'enroll.enrolled', limit: 100 });
        return found.map(({ subject }) => subject).filter((subject) => subject?.startsWith('devices/'));
      };
      await expect.poll(enrolled, PATIENT).toEqual(['devices/pump-1']);
      // It turned the audit into events, which the other node goes on with.
      await a.server.end('SIGKILL');
      await b.enroll('pump-2');
      await expect.poll(enrolled, PATIENT).toEqual(['devices/pump-1', 'devices/pump-2']);
      expect(times('$fleet/events/cert/revoked/pump-1')).toBe(1);
    },
    STARTS_MS,
  );
});
