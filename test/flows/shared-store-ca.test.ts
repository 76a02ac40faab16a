/** A CA that one node makes and activates, on another node that shares the store. Real processes and real devices. */

import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 60_000;

describeWithClients('a rotation on one of two nodes', ['postgres'], () => {
  const postgres = suitePostgres();

  it(
    'is followed by the other one, which accepts new certificates at once and issues when it has the key',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const b = await store.node('b', { like: a });
      const before = await a.enroll('pump-1');
      const { id } = await a.operator.prepareCa({});
      const keysIn = async () => (await rollcall(['doctor', '--data', b.data])).stdout;
      const lacks = (state: string) =>
        new RegExp(`^CA keys +[a-zA-Z]+ +the key of the ${state} issuing CA ${id} is not on b`, 'm');
      await expect.poll(keysIn, { timeout: 20_000 }).toMatch(lacks('prepared'));
      await a.operator.activateCa({ id });
      expect(a.server.log()).toMatch(/"nodes":\["b"\],"msg":"these nodes issue nothing/);
      const after = await a.enroll('pump-2');
      for (const identity of [before, after]) {
        const client = await connectMqtt(b.reached(identity));
        await client.endAsync();
      }

      await b.server.untilLogged('this node issues nothing');
      await expect(b.enroll('pump-3')).rejects.toMatchObject({ code: 'unavailable' });
      expect(await keysIn()).toMatch(lacks('active'));
      const [from, to] = [join(a.data, 'ca'), join(b.data, 'ca')];
      for (const file of readdirSync(from).filter((name) => name.startsWith('issuing-'))) {
        cpSync(join(from, file), join(to, file));
      }
      const issued = async () => {
        const [{ issued: count } = { issued: 0 }] = (await b.operator.listCas()).filter((ca) => ca.id === id);
        return count;
      };
      const count = await issued();
      await expect.poll(() => b.enroll('pump-4').then(issued, () => count), { timeout: 20_000 }).toBeGreaterThan(count);
      await expect.poll(keysIn, { timeout: 20_000 }).toMatch(/^CA keys +ok /m);
    },
    STARTS_MS,
  );
});
