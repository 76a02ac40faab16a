/** A registry as the version before the newest migration left it, without devices. */

import { readdirSync, readFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { addChainFunctions } from '../../registry/audit-chain.ts';
import { newestSchema } from '../../registry/migrate.ts';

const MIGRATIONS = new URL('../../registry/migrations/', import.meta.url);
const APPLICATION_ID = 0x52437267;

/** Returns its schema. */
export function writeOlderRegistry(file: string): number {
  const schema = newestSchema() - 1;
  const names = readdirSync(MIGRATIONS).sort().slice(0, schema);
  const database = new Database(file);
  addChainFunctions(database);
  for (const name of names) database.exec(readFileSync(new URL(name, MIGRATIONS), 'utf8'));
  database.pragma(`user_version = ${schema}`);
  database.pragma(`application_id = ${APPLICATION_ID}`);
  database.pragma('journal_mode = WAL');
  database.close();
  return schema;
}
