import { expect, it } from 'vitest';
import { NODE_TABLES, type PostgresDatabase } from '../../storage/postgres/index.ts';
import { publishNode, upgrade, withColumn } from '../../test/fixtures/next-release.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { fleetTables } from './fleet-tables.ts';
import { Neighbours } from './neighbours.ts';

describeWithClients('a node beside those of other releases', ['postgres'], () => {
  const postgres = suitePostgres();

  function nodeOf(database: PostgresDatabase, number: number, oldest: number): Neighbours {
    return new Neighbours({ database, node: 'own', protocol: { number, oldest }, tables: fleetTables() });
  }

  async function start() {
    const database = await postgres().open();
    const own = nodeOf(database, 3, 2);
    await own.prepareLease();
    await own.prepare();
    return { database, own };
  }

  it('runs beside one that is a number older or newer, and beside one that has published nothing yet', async () => {
    const { database, own } = await start();
    await publishNode(database, 'older', { protocol: { number: 2, oldest: 1 } });
    await publishNode(database, 'newer', { protocol: { number: 4, oldest: 3 } });
    await publishNode(database, 'starts');
    await own.expectBeside();
  });

  it('is refused beside one that is too old, with both numbers and the release, and runs once that one has stopped', async () => {
    const { database, own } = await start();
    const stop = await publishNode(database, 'old', { release: '0.1.0', protocol: { number: 1, oldest: 1 } });
    await publishNode(database, 'near', { protocol: { number: 2, oldest: 1 } });
    await expect(own.expectBeside()).rejects.toMatchObject({
      code: 'node_release_too_far',
      reason: expect.stringMatching(
        /^this node writes protocol 3 and reads 2 or newer; old \(release 0.1.0\b.*\) writes protocol 1 and reads 1 or newer$/,
      ),
    });
    await stop();
    await own.expectBeside();
  });

  it('is refused beside one that is too new for it, whatever it can read itself', async () => {
    const { database } = await start();
    await publishNode(database, 'new', { protocol: { number: 9, oldest: 8 } });
    await expect(nodeOf(database, 7, 1).expectBeside()).rejects.toMatchObject({ code: 'node_release_too_far' });
    await nodeOf(database, 8, 1).expectBeside();
  });

  it('that was not heard finds what others have changed meanwhile: it goes on with columns more, and not without its own', async () => {
    const { database, own } = await start();
    await upgrade(database, fleetTables());
    const [nodes] = fleetTables().filter(({ name }) => name === NODE_TABLES.name);
    if (nodes === undefined) throw new Error('expected the tables of nodes');
    await upgrade(database, [withColumn(nodes, 'nodes')]);
    await own.expectCompatible();
    await database.execute(`UPDATE table_versions SET oldest = version WHERE name = 'nodes'`);
    await expect(own.expectCompatible()).rejects.toMatchObject({ code: 'database_newer' });
  });
});
