/** The database of a served cluster: servers that faults of the script fail over, or hosts under Patroni. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { QueryResultRow } from 'pg';
import type { CuttableHosts } from '../fixtures/cuttable-hosts.ts';
import { makeDatedAuthority } from '../fixtures/dated-authority.ts';
import { PostgresCluster } from '../fixtures/postgres-servers.ts';
import { PASSWORD, USER } from '../fixtures/postgres-template.ts';
import { PatroniCluster } from '../several-nodes/patroni-cluster.ts';

export interface ServedDatabase {
  /** Variables of each node. */
  readonly environment: Readonly<Record<string, string>>;
  /** Fails over by script; undefined under Patroni. */
  readonly postgres: PostgresCluster | undefined;
  readonly patroni: PatroniCluster | undefined;
  /** As superuser. Throws while the primary does not answer. */
  ask<Row extends QueryResultRow>(sql: string, values: readonly unknown[]): Promise<readonly Row[]>;
  dispose(): Promise<void>;
}

const DAY_MS = 86_400_000;

/** Over TLS where nodes reach it over a network. Its files are in `directory`. */
export async function startPostgres(
  standbys: number,
  hosts: CuttableHosts | undefined,
  directory: string,
): Promise<ServedDatabase> {
  const address = hosts?.addresses.database ?? '127.0.0.1';
  const caFile = join(directory, 'database-ca.pem');
  const start = async () => {
    if (hosts === undefined) return PostgresCluster.start({ standbys });
    const authority = await makeDatedAuthority();
    writeFileSync(caFile, authority.rootPem);
    const server = await authority.server(Date.now() - DAY_MS, Date.now() + DAY_MS, [{ type: 'ip', value: address }]);
    const tls = { server, network: { subnet: hosts.subnets.database, address } };
    return PostgresCluster.start({ standbys, tls });
  };
  const postgres = await start();
  const passwordFile = join(directory, 'password');
  writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
  const url = `postgres://${USER}@${postgres.nodes.map(({ port }) => `${address}:${port}`).join()}/rollcall`;
  const store = { url, passwordFile, standbys: Math.min(1, standbys), ...(hosts && { caFile }) };
  return {
    ...{ environment: environmentOf(store), postgres, patroni: undefined },
    ask: (sql, values) => postgres.primary.ask(sql, values),
    dispose: () => postgres.dispose(),
  };
}

/** `directory`: the user of PostgreSQL may enter it. */
export async function startPatroni(directory: string): Promise<ServedDatabase> {
  const patroni = await PatroniCluster.start(directory);
  return {
    ...{ environment: environmentOf(patroni.store), postgres: undefined, patroni },
    ask: (sql, values) => patroni.ask(sql, values),
    dispose: () => patroni.dispose(),
  };
}

function environmentOf(store: {
  readonly url: string;
  readonly passwordFile: string;
  readonly standbys: number;
  readonly caFile?: string;
}): Readonly<Record<string, string>> {
  return {
    ROLLCALL_STORE_URL: store.url,
    ROLLCALL_STORE_PASSWORD_FILE: store.passwordFile,
    ROLLCALL_STORE_STANDBYS: String(store.standbys),
    ...(store.caFile !== undefined && { ROLLCALL_STORE_CA_FILE: store.caFile }),
  };
}
