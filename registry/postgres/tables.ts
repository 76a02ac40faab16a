/** The registry's tables on PostgreSQL, a file for each version. */

import { readFileSync } from 'node:fs';
import type { Migration, TableSet } from '../../storage/postgres/index.ts';

/** `oldest`: the oldest version whose code works on the tables as the file leaves them. */
const VERSIONS: readonly { readonly file: string; readonly oldest: number }[] = [
  { file: '0001_initial.sql', oldest: 1 },
  // Code that publishes no changes would revoke without telling the other nodes.
  { file: '0002_changes.sql', oldest: 2 },
  { file: '0003_confirmation_times.sql', oldest: 2 },
  { file: '0004_nodes.sql', oldest: 2 },
  { file: '0005_node_certificates.sql', oldest: 2 },
];

export function registryTables(): TableSet {
  const migrations = VERSIONS.map(({ file, oldest }): Migration => {
    return { sql: readFileSync(new URL(`./migrations/${file}`, import.meta.url), 'utf8'), oldest };
  });
  return { name: 'registry', migrations };
}
