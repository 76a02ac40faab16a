/** Bad days of nodes that share a store: a start that is refused says why, and a node that others do not hear stops by itself. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { sharedStore } from '../fixtures/cluster-node.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt, startMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const STARTS_MS = 180_000;
const PATIENT = { timeout: 120_000 };

describeWithClients('a node that shares a store', ['postgres'], () => {
  const postgres = suitePostgres();

  it(
    'is refused with a name that another one has, with the CA of another fleet, without the standbys that are asked for, and on newer tables',
    async () => {
      const store = await sharedStore(postgres());
      const stranger = await startFleet({ data: join(temporaryDirectory(), 'data') });
      await stranger.stop();
      const a = await store.node('a');
      const saidBy = async (name: string, options: Parameters<typeof store.refused>[1]) => {
        const { code, stderr } = await store.refused(name, options);
        return `${code} ${stderr}`;
      };
      const [sameName, foreign, noCa, noStandby] = await Promise.all([
        saidBy('a', { like: a }),
        saidBy('b', { like: stranger }),
        saidBy('c', {}),
        saidBy('d', { like: a, environment: { ROLLCALL_STORE_STANDBYS: '1' } }),
      ]);
      expect(sameName).toMatch(/^3 [\s\S]*another process runs as the node of this name/);
      expect(foreign).toMatch(
        /^1 [\s\S]*expected the root [0-9a-f]{40}, which the registry knows, .* found [0-9a-f]{40}/,
      );
      expect(noCa).toMatch(/^1 [\s\S]*the registry knows devices that trust it/);
      expect(noStandby).toMatch(/^1 [\s\S]*expected synchronous_standby_names to be a list that demands 1 standby/);
      const makeNewer = `table_versions SET version = 99, oldest = 99 WHERE name = 'registry'`;
      await store.ask((schema) => `UPDATE ${schema}.${makeNewer}`);
      expect(await saidBy('e', { like: a })).toMatch(/^1 [\s\S]*was written by a newer version/);
      expect(existsSync(join(a.data, 'registry.db'))).toBe(false);
    },
    STARTS_MS,
  );

  it(
    'is refused when it creates a CA at the same moment as another one, and the fleet has one root',
    async () => {
      const store = await sharedStore(postgres());
      const started = await Promise.allSettled([store.node('a'), store.node('b')]);
      expect(started.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      const refused = started.find((one) => one.status === 'rejected');
      expect(String(refused?.reason)).toMatch(
        /another node has created the root|the registry knows devices that trust it/,
      );
      const ca = (schema: string) => `SELECT role, state FROM ${schema}.issuers ORDER BY role DESC`;
      expect(await store.ask(ca)).toEqual([
        { role: 'root', state: 'active' },
        { role: 'issuing', state: 'active' },
      ]);
    },
    STARTS_MS,
  );

  it(
    'acknowledges nothing while the database does not answer, is not ready then, and goes on afterwards',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a', {
        arguments: [],
        environment: { ROLLCALL_HEALTH_LISTEN: 'true', ROLLCALL_HEALTH_PORT: '0' },
      });
      const ready = async () => (await fetch(`${a.healthUrl}/readyz`)).status;
      const client = await connectMqtt(await a.enroll('pump-1'));
      expect(await ready()).toBe(200);
      postgres().primary.freeze();
      // It may have been deaf for a moment before.
      await expect.poll(ready).toBe(503);
      let isAcknowledged = false;
      const stored = client.publishAsync('devices/pump-1/telemetry/heat', '21.5', { qos: 1 }).then(() => {
        isAcknowledged = true;
      });
      expect(await ready()).toBe(503);
      expect(isAcknowledged).toBe(false);
      postgres().primary.thaw();
      await stored;
      await expect.poll(ready).toBe(200);
      expect(await a.operator.queryTelemetry({ device: 'pump-1', limit: 10 })).toHaveLength(1);
    },
    STARTS_MS,
  );

  it(
    'that is told to stop while it waits for the database ends at once, and without an error',
    async () => {
      const store = await sharedStore(postgres());
      const data = join(temporaryDirectory(), 'data');
      const pid = () => (existsSync(join(data, 'server.pid')) ? readFileSync(join(data, 'server.pid'), 'utf8') : '');
      postgres().primary.freeze();
      onTestFinished(() => postgres().primary.thaw());
      const waiting = store.refused('a', { data });
      await expect.poll(pid, PATIENT).toMatch(/\n$/);
      process.kill(Number(pid()), 'SIGTERM');
      const { code, stderr } = await waiting;
      expect([code, stderr]).toEqual([0, expect.stringContaining('stopped before it had started')]);
    },
    STARTS_MS,
  );

  it(
    'whose clock is wrong says so, and takes part as the others do; the doctor examines the store of one that runs, and of one that does not',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const b = await store.node('b', {
        like: a,
        environment: {
          NODE_OPTIONS: `--import=${new URL('../fixtures/shifted-clock.ts', import.meta.url)}`,
          ROLLCALL_TEST_CLOCK_SHIFT: '60000',
        },
      });
      expect(b.server.log()).toContain('the clock of this node differs from that of the database');
      expect(await a.operator.health()).toMatchObject({ status: 'ok', clock: 'ok' });
      expect(await b.operator.health()).toMatchObject({ status: 'degraded', clock: 'skewed' });
      expect(await b.operator.metrics()).toMatch(/^rollcall_store_clock_skew_seconds -(59\.|60)/m);
      await a.enroll('pump-1');
      await a.operator.suspendDevices({ ids: ['pump-1'] });
      const nodes = ['a', 'b'].map((name) => ({ name, state: 'confirmed' }));
      await expect.poll(() => a.operator.showDevice({ id: 'pump-1' })).toMatchObject({ lastChange: { nodes } });

      const doctor = async (data: string, environment = {}) =>
        (await rollcall(['doctor', '--data', data], { environment })).stdout;
      const running = await doctor(b.data);
      expect(running).toMatch(
        /^store +warning +PostgreSQL 15.* over plaintext; 0 of its standbys confirm each commit/m,
      );
      expect(running).toMatch(/^store clock +warning +(60000|59\d{3}|600\d{2}) ms ahead of the database's/m);
      const stopped = await doctor(join(temporaryDirectory(), 'data'), {
        ...store.settings,
        ROLLCALL_STORE_URL: store.url,
        ROLLCALL_NODE_NAME: 'a',
      });
      expect(stopped).toMatch(/^store +warning +PostgreSQL 15/m);
      expect(stopped).toMatch(/^node name +FAILED +another process runs as the node a/m);
    },
    STARTS_MS,
  );

  it(
    'that is stopped is named in the proof of a revocation with the time of its end, acknowledges nothing of the device when it goes on, and starts anew',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const b = await store.node('b', { like: a });
      const said = async (...args: readonly string[]) => (await rollcall([...args, '--data', a.data])).stdout;
      const client = await connectMqtt(b.reached(await a.enroll('pump-1')));
      const other = b.reached(await a.enroll('pump-2'));
      const before = await connectMqtt(other, { clean: false });
      await before.subscribeAsync('devices/pump-2/commands/+/+', { qos: 1 });
      process.kill(b.server.pid, 'SIGSTOP');
      await expect.poll(() => a.operator.listNodes()).toMatchObject([{ name: 'a' }, { name: 'b', state: 'deaf' }]);
      const ended = closed(client);
      client.publish('devices/pump-1/telemetry/heat', '21.5', { qos: 1 }, (error) => {
        if (error === undefined || error === null) throw new Error('acknowledged after the revocation');
      });

      const proof = await a.operator.revokeDevices({ ids: ['pump-1'], reason: 'keyCompromise' });
      expect(proof).toMatchObject({ brokersConfirmed: 1, devices: [{ unconfirmed: ['b'] }] });
      const { deafSince, closedBy } = proof.nodes[1] ?? {};
      expect(proof.nodes).toEqual([
        { name: 'a', state: 'confirmed', confirmedAt: expect.any(String) },
        { name: 'b', state: 'deaf', deafSince, closedBy },
      ]);
      expect(Date.parse(closedBy as string) - Date.parse(deafSince as string)).toBe(29_000);
      const repeated = await said('device', 'revoke', 'pump-1', '--reason', 'keyCompromise');
      const deaf = `b is deaf since ${deafSince}, its sockets are closed by ${closedBy}`;
      expect(repeated).toContain('confirmed by 1 of 2 brokers');
      expect(repeated).toContain(deaf);
      expect(await said('device', 'show', 'pump-1')).toMatch(
        new RegExp(`^applied   revoke at .*, confirmed by 1 of 2 brokers\\n +${deaf}$`, 'm'),
      );

      process.kill(b.server.pid, 'SIGCONT');
      await ended;
      // Others have its sessions: it starts anew on the same ports, and gets them back as its devices do.
      await b.server.untilLogged('the server starts again');
      const states = async () =>
        (await a.operator.showDevice({ id: 'pump-1' })).lastChange?.nodes.map(({ state }) => state);
      await expect.poll(states, PATIENT).toEqual(['confirmed', 'closed']);
      const again = startMqtt(other, { clean: false, reconnectPeriod: 100 });
      expect(await new Promise((resolve) => again.once('connect', resolve))).toMatchObject({ sessionPresent: true });
      // Acknowledged when it is stored.
      await again.subscribeAsync('devices/pump-2/commands/open/+', { qos: 1 });
      await again.publishAsync('devices/pump-2/telemetry/heat', '21.5', { qos: 1 });
      expect(await a.operator.queryTelemetry({ device: 'pump-1', limit: 10 })).toEqual([]);
    },
    STARTS_MS,
  );

  it(
    'that is stopped in the middle of its start, so that others take over what it had, starts anew and stores what devices send',
    async () => {
      const store = await sharedStore(postgres());
      const a = await store.node('a');
      const former = await store.node('b', { like: a });
      const pump = await a.enroll('pump-1');
      await former.server.end('SIGTERM');
      // Its start waits for this row: its lane of telemetry is open then, and its sessions are not.
      const schema = store.settings.ROLLCALL_STORE_SCHEMA;
      const held = await postgres().primary.hold(`SELECT 1 FROM ${schema}.events_lanes WHERE node = 'b' FOR UPDATE`);
      const starting = store.node('b', { data: former.data });
      await held.untilWaitedFor();
      const pid = Number(readFileSync(join(former.data, 'server.pid'), 'utf8'));
      process.kill(pid, 'SIGSTOP');
      await held.release();
      // Nodes take over only what had sessions.
      await store.ask(() => `INSERT INTO ${schema}.session_claims VALUES ('pump-2', 'b', 1)`);
      await a.server.untilLogged('the sessions of a node that is dead are taken over');
      process.kill(pid, 'SIGCONT');
      const b = await starting;
      const client = startMqtt(b.reached(pump), { reconnectPeriod: 100 });
      await client.publishAsync('devices/pump-1/telemetry/heat', '21.5', { qos: 1 });
      expect(b.server.log()).toContain('the server starts again');
      expect(await a.operator.queryTelemetry({ device: 'pump-1', limit: 10 })).toHaveLength(1);
      await client.endAsync();
    },
    STARTS_MS,
  );
});
