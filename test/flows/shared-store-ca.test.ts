/** A CA that one node makes and activates, on another node that shares the store. Real processes and real devices. */

import { X509Certificate } from 'node:crypto';
import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { memoryIdentityStore } from '@rollcall/device-sdk';
import { requestRenewal } from '@rollcall/device-sdk/building-blocks';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { nodeOf, sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { USER } from '../fixtures/postgres-template.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const STARTS_MS = 180_000;

describeWithClients('a rotation on one of two nodes', ['postgres'], () => {
  const postgres = suitePostgres();

  it(
    'is followed by one that gets no keys from others, which accepts new certificates at once and issues when the key was copied',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const b = await store.node('b', { like: a, environment: { ROLLCALL_CERTIFICATES_KEYS_SHARE: 'false' } });
      const before = await a.enroll('pump-1');
      const { id } = await a.operator.prepareCa({});
      const keysIn = async () => (await rollcall(['doctor', '--data', b.data])).stdout;
      const lacks = (state: string) =>
        new RegExp(`^CA keys +[a-zA-Z]+ +the key of the ${state} issuing CA ${id} is not on b`, 'm');
      await expect.poll(keysIn).toMatch(lacks('prepared'));
      await a.operator.activateCa({ id });
      await a.server.untilLogged('"nodes":["b"],"msg":"these nodes issue nothing');
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
      await expect.poll(() => b.enroll('pump-4').then(issued, () => count)).toBeGreaterThan(count);
      await expect.poll(keysIn).toMatch(/^CA keys +ok /m);
    },
    STARTS_MS,
  );

  it(
    'is followed by one that joined by a token, which gets the key of the new CA and a certificate of it',
    async () => {
      await postgres().primary.ask(`ALTER ROLE ${USER} CREATEROLE`);
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const token = (await a.operator.createNodeToken({ withCaKeys: true })).text;
      const data = join(temporaryDirectory(), 'b');
      const words = ['--name', 'b', '--roles', 'mqtt,enroll,console', '--data', data];
      expect(await rollcall(['node', 'join', a.server.ready.enrollUrl, ...words], { stdin: token })).toMatchObject({
        code: 0,
      });
      const started = async () => {
        const server = await serve(data, ['--config', join(data, 'rollcall.yaml')]);
        const operator = openConsoleClient({ socketPath: server.ready.socket });
        onTestFinished(async () => {
          operator.close();
          await server.end('SIGKILL');
        });
        return nodeOf('b', data, server, operator);
      };
      const b = await started();
      const { server } = b;
      const pump = await b.enroll('pump-1');

      const { id } = await a.operator.prepareCa({});
      await server.untilLogged('another node sent the key of a CA');
      await a.operator.activateCa({ id });
      await server.untilLogged('the certificate of this node was renewed');

      const isOf = (ca: string, { certificatePem }: { readonly certificatePem: string }) =>
        new X509Certificate(certificatePem).issuer.includes(ca.slice(0, 8));
      const renewed = await requestRenewal(memoryIdentityStore(), pump);
      expect([isOf(id, pump), isOf(id, renewed)]).toEqual([false, true]);
      expect(isOf(id, await b.enroll('pump-2'))).toBe(true);
      const audit = await a.operator.listAudit({ action: 'ca.key.sent' });
      expect(audit).toEqual([
        expect.objectContaining({
          ...{ actor: 'server/a', subject: `ca/${id}`, outcome: 'done' },
          details: expect.objectContaining({ from: 'a', to: 'b' }),
        }),
      ]);
      const keysIn = async () => (await rollcall(['doctor', '--data', data])).stdout;
      await expect.poll(keysIn).toMatch(/^CA keys +ok /m);

      // It is off during the next rotation.
      await server.end('SIGTERM');
      const { id: next } = await a.operator.prepareCa({});
      await a.operator.activateCa({ id: next });
      const again = await started();
      await again.server.untilLogged('another node sent the key of a CA');
      const isOfNext = () =>
        again.enroll('pump-3').then(
          (pump3) => isOf(next, pump3),
          () => false,
        );
      await expect.poll(isOfNext).toBe(true);
    },
    STARTS_MS,
  );
});
