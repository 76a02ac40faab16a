/**
 * Brings a database to the newest schema: `migrations/NNNN_name.sql`, in order, each in a transaction of its own.
 * The database remembers how far it is in `user_version`.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { parseDecimal } from '@rollcall/protocol';
import type Database from 'better-sqlite3';
import { addAuditChainFunctions } from '../audit/audit-chain.ts';
import { addTermFunctions } from '../devices/device-terms.ts';

const FOLDER = new URL('./migrations/', import.meta.url);
const NAME = /^([0-9]{4})_[a-z0-9_]+\.sql$/;

/** Number of the newest schema: 1, 2, 3, … */
export function newestSchema(): number {
  return listMigrations().length;
}

/** Expects a schema that is not newer than the newest. */
export function migrate(database: Database.Database): void {
  const migrations = listMigrations();
  const reached = database.pragma('user_version', { simple: true }) as number;
  if (reached < migrations.length) addAuditChainFunctions(database);
  addTermFunctions(database); // `find-devices.ts` uses one of them
  for (const [index, file] of migrations.entries()) {
    const version = index + 1;
    if (version <= reached) continue;
    const sql = readFileSync(new URL(file, FOLDER), 'utf8');
    database.transaction(() => {
      database.exec(sql);
      database.pragma(`user_version = ${version}`);
    })();
  }
}

function listMigrations(): readonly string[] {
  const files = readdirSync(FOLDER)
    .filter((file) => file.endsWith('.sql'))
    .sort();
  for (const [index, file] of files.entries()) {
    if (parseDecimal(NAME.exec(file)?.[1], 1) !== index + 1) {
      throw new Error(`expected migration number ${index + 1}, found ${file}`);
    }
  }
  return files;
}
