/** Operators and the nodes of a fleet: one node is asked, and any of them is listed, drained and removed. */

import { beforeEach, expect, it } from 'vitest';
import { type ClusterNode, type SharedStore, sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt, startMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 180_000;
const PROBES = { ROLLCALL_HEALTH_LISTEN: 'true', ROLLCALL_HEALTH_PORT: '0' };

describeWithClients('two nodes with one store', ['postgres'], () => {
  const postgres = suitePostgres();
  let store: SharedStore;
  let a: ClusterNode;
  let b: ClusterNode;

  beforeEach(async () => {
    store = await sharedStore(postgres());
    a = await store.node('a');
    b = await store.node('b', { like: a, environment: PROBES });
  }, STARTS_MS);

  /** A command of an operator on the host of node a. */
  const onA = (...words: readonly string[]) => rollcall([...words, '--data', a.data]);
  const states = async (node: ClusterNode) =>
    Object.fromEntries((await node.operator.listNodes()).map(({ name, state }) => [name, state]));
  const audited = async () => (await a.operator.listAudit()).map(({ action, subject }) => `${action} ${subject}`);

  it(
    'either lists both, one drains the other with 0x9C and has it serve again, and all of it is in the audit',
    async () => {
      const both = ['a', 'b'].map((name) => ({
        ...{ name, kind: 'process', state: 'serving', sessions: 0 },
        server: { roles: ['mqtt', 'enroll', 'console'], host: expect.stringMatching(/./) },
      }));
      // A node that is busy for a second is not heard meanwhile.
      for (const { operator } of [a, b]) await expect.poll(() => operator.listNodes()).toMatchObject(both);
      const ready = async () => (await fetch(`${b.healthUrl}/readyz`)).status;
      await expect.poll(ready).toBe(200);
      const pump = await a.enroll('pump-1');
      const client = startMqtt(b.reached(pump), { protocolVersion: 5 });
      await new Promise((resolve) => client.once('connect', resolve));
      const told = new Promise((resolve) => client.once('disconnect', ({ reasonCode }) => resolve(reasonCode)));

      const drained = await onA('node', 'drain', 'b', '--within', '5s');
      expect(drained).toMatchObject({ code: 0, stdout: 'b is drained with 0 sessions\n' });
      expect(await told).toBe(0x9c);
      client.end(true);
      await expect(connectMqtt(b.reached(pump))).rejects.toThrow();
      expect(await ready()).toBe(503);
      await expect.poll(() => states(b)).toEqual({ a: 'serving', b: 'drained' });
      expect((await onA('node', 'drain', 'a')).stderr).toMatch(/no other node is serving/);

      expect(await onA('node', 'undrain', 'b')).toMatchObject({ code: 0, stdout: 'b is serving with 0 sessions\n' });
      await (await connectMqtt(b.reached(pump))).endAsync();
      expect(await ready()).toBe(200);
      const done = ['node.drain.begun node/b', 'node.drained node/b', 'node.undrained node/b'];
      await expect.poll(audited).toEqual(expect.arrayContaining(done));
    },
    STARTS_MS,
  );

  it(
    'a node that is removed ends at once, is refused at its start, and stays in the list',
    async () => {
      const ended = b.server.untilLogged('node b was removed');
      expect(await onA('node', 'remove', 'b')).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(/the node is running/),
      });
      expect((await onA('node', 'remove', 'a', '--force')).stderr).toMatch(/ask another one/);
      expect((await onA('node', 'remove', 'z')).stderr).toMatch(/there is no such node/);
      const pump = await a.enroll('pump-1');
      const client = startMqtt(b.reached(pump), { reconnectPeriod: 0 });
      await new Promise((resolve) => client.once('connect', resolve));
      const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));

      expect(await onA('node', 'remove', 'b', '--force')).toMatchObject({ code: 0 });
      await Promise.all([closed, ended]);
      const { code, stderr } = await store.refused('b', { data: b.data });
      expect([code, stderr]).toEqual([3, expect.stringMatching(/removed the node of this name/)]);
      await expect.poll(() => states(a)).toEqual({ a: 'serving', b: 'removed' });
      expect((await onA('node', 'list')).stdout).toMatch(/^b .* removed /m);
      expect(await audited()).toEqual(expect.arrayContaining(['node.remove.begun node/b', 'node.removed node/b']));
    },
    STARTS_MS,
  );
});
