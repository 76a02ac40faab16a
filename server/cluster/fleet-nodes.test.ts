/** Orders of operators on nodes that share a store, given on different nodes at the same moment. */

import { expect, it } from 'vitest';
import type { NodeDrainOrder } from '../../console/index.ts';
import {
  LEASE_TABLES,
  NODE_TABLES,
  NodeRecords,
  type PostgresDatabase,
  STORE_GENERATION_TABLES,
} from '../../storage/postgres/index.ts';
import { publishNode } from '../../test/fixtures/next-release.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { createFleetNodes } from './fleet-nodes.ts';
import { Neighbours } from './neighbours.ts';

const DRAIN: NodeDrainOrder = { within: 0, sessionsPerSecond: 0, restart: false };

describeWithClients('two operators who drain nodes of one fleet', ['postgres'], () => {
  const postgres = suitePostgres();

  async function fleetOf(names: readonly string[]) {
    const database = await postgres().open();
    const options = { database, node: 'a', protocol: { number: 1, oldest: 1 } };
    const neighbours = new Neighbours({ ...options, tables: [LEASE_TABLES, NODE_TABLES, STORE_GENERATION_TABLES] });
    await neighbours.prepareLease();
    for (const name of names) await publishNode(database, name, {});
    return database;
  }

  /** As the console of this node carries out orders. */
  function consoleOf(database: PostgresDatabase, node: string) {
    const records = new NodeRecords(database, node, () => performance.now());
    const refused = async () => {
      throw new Error('expected no join');
    };
    return createFleetNodes({
      cluster: {
        node,
        nodes: () => records.list(),
        order: async (name, order, judge) => (await records.order(name, order, judge)) !== undefined,
        remove: (name) => records.remove(name, 1),
      },
      joins: { createToken: refused, listTokens: refused, revokeToken: refused, remove: refused },
      ...{ isEnrolling: false, drainDefaults: DRAIN, now: Date.now },
    });
  }

  /** Gives both orders at once. Resolves with what became of each. The nodes carry out what they were given. */
  async function bothAtOnce(database: PostgresDatabase, orders: readonly (readonly [at: string, name: string])[]) {
    const ended: Promise<unknown>[] = [];
    const begun = orders.map(
      ([at, name]) =>
        new Promise<string>((resolve) => {
          const drained = consoleOf(database, at).drain(name, DRAIN, () => resolve('begun'));
          ended.push(drained.catch((error: { readonly code: string }) => resolve(error.code)));
        }),
    );
    const said = await Promise.all(begun);
    await database.execute('UPDATE nodes SET orders_done = orders');
    await Promise.all(ended);
    return said.toSorted();
  }

  it('drain one node once: the second one is told that it is busy', async () => {
    const database = await fleetOf(['a', 'b', 'c']);
    expect(
      await bothAtOnce(database, [
        ['a', 'c'],
        ['b', 'c'],
      ]),
    ).toEqual(['begun', 'node_busy']);
  });

  it('leave one node that serves: the second one is told that no other does', async () => {
    const database = await fleetOf(['a', 'b']);
    expect(
      await bothAtOnce(database, [
        ['a', 'b'],
        ['b', 'a'],
      ]),
    ).toEqual(['begun', 'node_last']);
  });
});
