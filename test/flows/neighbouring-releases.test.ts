/** Nodes of this release beside the next one, which the test plays: it makes its tables, and writes for other nodes what this release knows not. */

import { beforeEach, expect, it } from 'vitest';
import { fleetTables } from '../../server/cluster/fleet-tables.ts';
import { FLEET_PROTOCOL, type PostgresDatabase, type TableSet } from '../../storage/postgres/index.ts';
import { type ClusterNode, type SharedStore, sharedStore } from '../fixtures/cluster-node.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { publishNode, upgrade, withColumn } from '../fixtures/next-release.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STARTS_MS = 180_000;

/** A table of each set, to which the next release adds a column. */
const TABLES: Readonly<Record<string, string>> = {
  nodes: 'nodes',
  leases: 'leases',
  cursors: 'cursors',
  store_note: 'store_note',
  store_generations: 'store_generations',
  registry: 'devices',
  sessions: 'sessions',
  telemetry_journal: 'telemetry_blocks',
  events_journal: 'events_blocks',
};

describeWithClients('a node of this release', ['postgres'], () => {
  const postgres = suitePostgres();
  let store: SharedStore;
  let database: PostgresDatabase;
  let a: ClusterNode;

  beforeEach(async () => {
    store = await sharedStore(postgres());
    database = await postgres().open({ schema: store.settings.ROLLCALL_STORE_SCHEMA });
    a = await store.node('a');
  }, STARTS_MS);

  const tablesOfNext = (kind: 'compatible' | 'incompatible'): readonly TableSet[] =>
    fleetTables().map((set) => {
      const own = kind === 'incompatible' ? set.migrations.length + 1 : undefined;
      return withColumn(set, TABLES[set.name] as string, own);
    });

  it(
    'serves and starts again on tables of the next one, leaves alone what it does not know in them, and ends when it reads an unknown change',
    async () => {
      const pump = await a.enroll('pump-1');
      const first = await connectMqtt(a.reached(pump), { clean: false });
      await upgrade(database, tablesOfNext('compatible'));
      await database.execute(`UPDATE devices SET of_next_release = 'changed' WHERE id = 'pump-1'`);
      await first.publishAsync('devices/pump-1/telemetry/heat', '1', { qos: 1 });
      await first.subscribeAsync('devices/pump-1/commands/#', { qos: 1 });
      await a.operator.setDevice({ id: 'pump-1', labels: { site: 'hall-3' } });

      const b = await store.node('b', { like: a });
      await a.server.end('SIGTERM');
      const again = await store.node('a', { data: a.data });
      const second = await connectMqtt(again.reached(pump), { clean: false });
      await second.publishAsync('devices/pump-1/telemetry/heat', '2', { qos: 1 });
      const end = closed(second);
      await b.operator.revokeDevices({ ids: ['pump-1'], reason: 'unspecified' });
      await end;
      const found = await database.query(
        `SELECT status, labels, of_next_release AS next FROM devices WHERE id = 'pump-1'`,
      );
      expect(found.rows).toEqual([{ status: 'revoked', labels: '{"site":"hall-3"}', next: 'changed' }]);
      const telemetry = await b.operator.queryTelemetry({ device: 'pump-1', stream: 'heat', limit: 10 });
      expect(telemetry.map(({ payload }) => payload)).toEqual([1, 2]);
      // A node that is busy for a second is not heard meanwhile.
      const listed = async () => {
        const { stdout } = await rollcall(['node', 'list', '--json', '--data', b.data]);
        const lines = stdout.trim().split('\n');
        return lines.map((line) => JSON.parse(line) as unknown);
      };
      await expect.poll(listed).toMatchObject([
        { name: 'a', state: 'serving', server: { version: '0.1.0', protocol: FLEET_PROTOCOL.number } },
        { name: 'b', state: 'serving', server: { version: '0.1.0', protocol: FLEET_PROTOCOL.number } },
      ]);

      // One of another release: a node carries out no order that it does not know, and does not go on after such a change.
      const logged = b.server.untilLogged('an order of an unknown kind');
      await database.execute(`UPDATE nodes SET orders = 1, last_order = '{"kind":"hibernate"}' WHERE name = 'b'`);
      await logged;
      expect((await database.query(`SELECT orders_done FROM nodes WHERE name = 'b'`)).rows).toEqual([
        { orders_done: 0 },
      ]);
      const both = [{ state: 'serving' }, { state: 'serving' }];
      await expect.poll(() => b.operator.listNodes()).toMatchObject(both);
      const valve = await connectMqtt(b.reached(await b.enroll('valve-1')));
      const change = `INSERT INTO registry_changes (kind, node, change, at) VALUES ('of the next release', 'z', '{}', ${Date.now()})`;
      const [{ code, stderr }] = await Promise.all([b.server.ended, closed(valve), database.execute(change)]);
      expect(code).toBe(3);
      expect(stderr).toMatch(/a newer node wrote something that this release does not know: expected change \d+ of z/);
    },
    STARTS_MS,
  );

  it(
    'is not shut out of its tables while it runs, and is refused by name beside a node with which it cannot speak and on tables that are too new',
    async () => {
      const next = tablesOfNext('incompatible');
      for (const tables of next.slice(-2)) {
        await expect(upgrade(database, [tables])).rejects.toMatchObject({
          code: 'upgrade_blocked',
          reason: expect.stringMatching(/these nodes run with older code: a \(release 0\.1\.0\b/),
        });
      }
      await a.server.end('SIGTERM');
      const stop = await publishNode(database, 'z', { release: '3.0.0', protocol: { number: 7, oldest: 6 } });
      const refused = async () => {
        const { code, stderr } = await store.refused('a', { data: a.data });
        return `${code} ${stderr}`;
      };
      expect(await refused()).toMatch(
        // Its lease was renewed once: after a second it is not heard.
        /^3 [\s\S]*a node is running whose release this one cannot run beside: .* z \(release 3\.0\.0[^)]*\) writes/,
      );
      await stop();
      await upgrade(database, next);
      expect(await refused()).toMatch(/^1 [\s\S]*expected tables of leases that code of version \d+ may use/);
    },
    STARTS_MS,
  );
});
