/** A host becomes a node of a fleet by one command, and what it got is taken back when it is removed. */

import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryIdentityStore } from '@rollcall/device-sdk';
import { requestRenewal } from '@rollcall/device-sdk/building-blocks';
import { parseBootstrapToken } from '@rollcall/protocol';
import { pino } from 'pino';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { NodeCredentials } from '../../server/cluster/node-credentials.ts';
import { type ClusterNode, type SharedStore, sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { USER } from '../fixtures/postgres-template.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const STARTS_MS = 180_000;

/** A node of a busy machine is deaf now and then, and refuses connections meanwhile. */
async function connectWhenHeard(identity: Parameters<typeof connectMqtt>[0]): Promise<void> {
  const connect = async () => {
    const client = await connectMqtt(identity);
    await client.endAsync();
    return 'connected';
  };
  await expect.poll(connect, { timeout: 30_000 }).toBe('connected');
}

describeWithClients('a host that joins', ['postgres'], () => {
  const postgres = suitePostgres();
  let store: SharedStore;
  let a: ClusterNode;
  beforeEach(async () => {
    await postgres().primary.ask(`ALTER ROLE ${USER} CREATEROLE`);
    await postgres().primary.ask(`GRANT pg_signal_backend TO ${USER}`);
    store = await sharedStore(postgres());
    a = await store.node('a');
  }, STARTS_MS);

  const onA = (...words: readonly string[]) => rollcall([...words, '--data', a.data]);
  const tokenFile = async (...options: readonly string[]) => {
    const file = join(temporaryDirectory(), 'token');
    const made = await onA('node', 'token', '--out', file, ...options);
    expect(made).toMatchObject({ code: 0 });
    return file;
  };
  const joinAs = (name: string, roles: string, file: string, data: string) =>
    rollcall([
      ...['node', 'join', a.server.ready.enrollUrl, '--token-file', file],
      ...['--name', name, '--roles', roles, '--data', data],
    ]);
  const started = async (data: string) => {
    const server = await serve(data, ['--config', join(data, 'rollcall.yaml')]);
    onTestFinished(async () => void (await server.end('SIGKILL')));
    return server;
  };
  const rolesInDatabase = async () =>
    (
      await postgres().primary.ask<{ name: string }>(
        `SELECT rolname AS name FROM pg_roles WHERE rolname LIKE 'rollcall\\_b\\_%'`,
      )
    ).length;

  it(
    'with keys of the CA serves and enrolls by credentials of its own, which end with its removal',
    async () => {
      const data = join(temporaryDirectory(), 'b');
      const file = await tokenFile('--with-ca-keys');
      const done = await joinAs('b', 'mqtt,enroll,console', file, data);
      expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('rollcall serve --config') });
      expect(readdirSync(join(data, 'ca')).toSorted()).toEqual(['issuing.key', 'issuing.pem', 'root.crl', 'root.pem']);
      for (const secret of ['ca/issuing.key', 'node/identity.pem', 'node/database-password']) {
        expect([secret, statSync(join(data, secret)).mode & 0o777]).toEqual([secret, 0o600]);
      }
      expect(readFileSync(join(data, 'rollcall.yaml'), 'utf8')).toMatch(/url: postgres:\/\/rollcall_b_[0-9a-f]{8}@/);
      // It is listed, and can be removed, before it was ever started.
      expect((await onA('node', 'list')).stdout).toMatch(/^b .* gone /m);
      // A token that an admin revokes is listed no more, and joins no host.
      const other = await tokenFile();
      const listed = async () => JSON.parse((await onA('node', 'token', 'list', '--json')).stdout) as { id: string }[];
      const [open] = await listed();
      expect(await listed()).toEqual([
        expect.objectContaining({ withCaKeys: false, createdBy: expect.stringMatching(/^operator/) }),
      ]);
      expect(await onA('node', 'token', 'revoke', open?.id as string)).toMatchObject({ code: 0 });
      expect(await listed()).toEqual([]);
      const refused = await joinAs('c', 'mqtt', other, join(temporaryDirectory(), 'c'));
      expect(refused).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(/the node token was not accepted: it was used/),
      });
      const twice = await onA('node', 'token', 'revoke', open?.id as string);
      expect([twice.code, twice.stderr]).toEqual([3, expect.stringMatching(/no such node token/)]);
      // The token counts once.
      const again = join(temporaryDirectory(), 'c');
      expect(await joinAs('c', 'mqtt', file, again)).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(/the node token was not accepted/),
      });
      expect(existsSync(again)).toBe(false);

      const b = await started(data);
      const pump = await a.enroll('pump-1');
      await connectWhenHeard({ ...pump, mqttUrl: b.ready.mqttUrl });
      expect(await rolesInDatabase()).toBe(1);

      const ended = b.untilLogged('node b was removed');
      expect(await onA('node', 'remove', 'b', '--force')).toMatchObject({ code: 0, stderr: '' });
      await ended;
      expect(await rolesInDatabase()).toBe(0);
      const actions = (await a.operator.listAudit()).map(({ action }) => action);
      expect(actions).toEqual(
        expect.arrayContaining([
          'node.token.created',
          'node.token.revoked',
          'node.joined',
          'node.certificate.revoked',
          'node.removed',
        ]),
      );
    },
    STARTS_MS,
  );

  it(
    'without the role enroll has no keys of the CA, and serves by certificates that another node issues and renews',
    async () => {
      const data = join(temporaryDirectory(), 'b');
      expect(await joinAs('b', 'mqtt,console', await tokenFile(), data)).toMatchObject({ code: 0 });
      expect(existsSync(join(data, 'ca'))).toBe(false);
      const b = await started(data);
      expect(readdirSync(join(data, 'ca'))).toEqual([]);
      const pump = await a.enroll('pump-1');
      await connectWhenHeard({ ...pump, mqttUrl: b.ready.mqttUrl });

      const expiring = await rollcall(['certificates', 'expiring', '--within', '60d', '--data', data, '--json']);
      expect(expiring.stdout).toContain('"name":"node/b"');
      // Also on a node that goes on while this one does not run.
      const onOther = await onA('certificates', 'expiring', '--within', '60d');
      expect(onOther.stdout).toMatch(/server .*node\/b .*the node b, while it runs/);

      // Its console knows who issues.
      const onB = (...words: readonly string[]) => rollcall([...words, '--data', data]);
      const token = await onB('token', 'create');
      expect(parseBootstrapToken(token.stdout.trim())?.enrollUrl).toBe(a.server.ready.enrollUrl);
      const out = join(temporaryDirectory(), 'service');
      expect((await onB('service', 'issue', 'app', '--out', out)).stderr).toMatch(/no keys of the CA/);

      // Its certificate is that of no device and of no service.
      const identity = readFileSync(join(data, 'node', 'identity.pem'), 'utf8');
      const asDevice = { ...pump, keyPem: identity, certificatePem: identity };
      await expect(connectMqtt(asDevice)).rejects.toThrow();
      await a.server.untilLogged('serial_unknown');
      await expect(requestRenewal(memoryIdentityStore(), asDevice)).rejects.toThrow();

      // It starts again while no node issues, and renews once one does.
      await b.end('SIGTERM');
      process.kill(a.server.pid, 'SIGSTOP');
      const again = await started(data);
      await connectWhenHeard({ ...pump, mqttUrl: again.ready.mqttUrl });
      process.kill(a.server.pid, 'SIGCONT');
      const log = pino({ level: 'silent' });
      const later = () => Date.now() + 25 * 86_400_000;
      const credentials = NodeCredentials.open({ data, now: later, log }, 'b') as NodeCredentials;
      // Node a may have been stopped for so long that it starts anew first.
      const serial = async () => {
        await credentials.renewDue().catch(() => {});
        return new X509Certificate(readFileSync(join(data, 'node', 'identity.pem'), 'utf8')).serialNumber;
      };
      await expect.poll(serial).not.toBe(new X509Certificate(identity).serialNumber);
      const { certificate } = await credentials.obtain('broker', () => true);
      expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);

      // Its host was off for too long.
      await again.end('SIGKILL');
      const environment = {
        NODE_OPTIONS: `--import=${new URL('../fixtures/shifted-clock.ts', import.meta.url)}`,
        ROLLCALL_TEST_CLOCK_SHIFT: String(60 * 86_400_000),
      };
      const late = await rollcall(['serve', '--config', join(data, 'rollcall.yaml'), '--data', data], { environment });
      expect(late).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/the certificate of this node has expired: that of b ended/),
      });
      expect(late.stderr).toContain('rollcall node join');

      expect(await onA('node', 'remove', 'b', '--force')).toMatchObject({ code: 0 });
      await expect(credentials.obtain('console', () => false)).rejects.toMatchObject({ code: 'certificate_rejected' });
      await credentials.close();
    },
    STARTS_MS,
  );

  it(
    'is refused with a token of devices, a wrong one, and where the database allows no roles',
    async () => {
      const data = join(temporaryDirectory(), 'b');
      const file = join(temporaryDirectory(), 'token');
      const { text } = await a.operator.createToken({});
      writeFileSync(file, text, { mode: 0o600 });
      expect((await joinAs('b', 'mqtt', file, data)).stderr).toMatch(/token/);
      const { text: forNode } = await a.operator.createNodeToken({});
      await expect(a.enroll('pump-1', forNode)).rejects.toMatchObject({ code: 'token_rejected' });
      writeFileSync(file, forNode, { mode: 0o600 });
      expect((await joinAs('b', 'enroll', file, data)).stderr).toMatch(/--with-ca-keys/);
      expect((await joinAs('a', 'mqtt', file, data)).stderr).toMatch(/another process runs as the node of this name/);
      await postgres().primary.ask(`ALTER ROLE ${USER} NOCREATEROLE`);
      const refused = await onA('node', 'token');
      expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining('ALTER ROLE "rollcall" CREATEROLE') });
      expect(existsSync(data)).toBe(false);
    },
    STARTS_MS,
  );
});
