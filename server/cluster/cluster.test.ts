/** The start and the end of one node among several: what is left of it when either fails. */

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LeaseTable, type PostgresDatabase } from '../../storage/postgres/index.ts';
import { silent } from '../../test/fixtures/journal.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PASSWORD, USER } from '../../test/fixtures/postgres-template.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { storeSchema } from '../config/store-config.ts';
import { type Cluster, openCluster } from './cluster.ts';

const PATIENT = { timeout: 20_000 };
const AUDIT = { auditHead: async () => ({ id: 0, hash: '' }), hasAuditEntry: async () => true };

describeWithClients('a node among several', ['postgres'], () => {
  const postgres = suitePostgres();

  async function setUp() {
    const database = await postgres().open();
    const directory = temporaryDirectory();
    const passwordFile = join(directory, 'password');
    writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
    const url = `postgres://${USER}@127.0.0.1:${postgres().primary.port}/rollcall`;
    const store = storeSchema.parse({ url, schema: database.schema, passwordFile, connections: 4 });
    const start = (): Promise<Cluster> =>
      openCluster({
        config: { store, node: { name: database.schema.replaceAll('_', '-'), roles: ['mqtt'] } },
        data: { confirmedStateFile: join(directory, 'store-confirmed.json') },
        ...{ version: '0.1.0', now: Date.now, log: silent },
      });
    return { database, directory, start };
  }

  /** Whether a process has the name, and how many connections it has. */
  async function leftBy(database: PostgresDatabase) {
    const node = database.schema.replaceAll('_', '-');
    const [lease] = await new LeaseTable({ database, node, now: () => 0 }).read([`node/${node}`]);
    const connections = await postgres().primary.ask(
      `SELECT 1 FROM pg_stat_activity WHERE application_name = 'rollcall ${node}'`,
    );
    return { holder: lease?.node, connections: connections.length };
  }

  const NOTHING = { holder: undefined, connections: 0 };

  it('that cannot tell others of itself does not start, and leaves no connection, no heartbeat and no name behind', async () => {
    const { database, start } = await setUp();
    const first = await start();
    expect(await leftBy(database)).toMatchObject({ holder: first.node });
    await first.close();
    await database.execute('ALTER TABLE nodes ADD CONSTRAINT refused CHECK (sessions < 0) NOT VALID');
    await expect(start()).rejects.toThrow('refused');
    await expect.poll(() => leftBy(database), PATIENT).toEqual(NOTHING);
    await database.execute('ALTER TABLE nodes DROP CONSTRAINT refused');
    await (await start()).close();
  });

  it('ends whole although its disk takes nothing', async () => {
    const { database, directory, start } = await setUp();
    const cluster = await start();
    await cluster.watchAudit(AUDIT);
    rmSync(directory, { recursive: true });
    await cluster.close();
    await expect.poll(() => leftBy(database), PATIENT).toEqual(NOTHING);
  });
});
