/**
 * The SQL for PostgreSQL stays within what Citus, YugabyteDB and CockroachDB speak too, so that another engine is a change of few files
 * (docs/decisions/0024-what-the-sql-may-use.md). What one of them lacks is in the files that are named here, and nowhere else.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { sourceFiles } from './fixtures/source-files.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Folders all of whose files are looked at. The registry's statements are one text for PostgreSQL and SQLite. */
const SPEAKS_TO_POSTGRES = /^(storage\/postgres|registry|telemetry\/postgres|broker\/cluster|server\/cluster)\//;
/** Every other file with a statement is looked at as well, but for those of SQLite, and of sinks, which write into other databases. */
const HAS_SQL = /\b(SELECT\b[\s\S]*\bFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE|ALTER TABLE)\b/;
const SPEAKS_TO_OTHERS =
  /^(registry\/(sqlite\/|backup-inspection|copy\/sqlite-registry)|storage\/(journal|database-)|broker\/session-store\/|telemetry\/(reserve|sinks)\/|test\/|cli\/demo\/|simulator\/|device-sdk\/)/;

interface Word {
  readonly pattern: RegExp;
  /** The only files that use it. */
  readonly onlyIn: readonly string[];
}

const WORDS: readonly Word[] = [
  // Not in CockroachDB and YugabyteDB.
  { pattern: /\bLISTEN ["$\w]|\bUNLISTEN\b|\bpg_notify\(/, onlyIn: ['storage/postgres/postgres-wakes.ts'] },
  // CockroachDB has functions of these names that lock nothing; a failover or a pooler loses the locks of the others.
  { pattern: /\bpg_(try_)?advisory_/, onlyIn: [] },
  // Procedural code, and what runs it.
  {
    pattern: /\bCREATE (OR REPLACE )?(CONSTRAINT )?(TRIGGER|FUNCTION|PROCEDURE|RULE|EVENT|AGGREGATE|EXTENSION)\b/,
    onlyIn: [],
  },
  { pattern: /\bLANGUAGE (sql|plpgsql)\b|\bDO \$|\bCALL \w+\(/i, onlyIn: [] },
  // Locks of whole tables, and transactions in two phases.
  { pattern: /\bLOCK TABLE\b|\bPREPARE TRANSACTION\b|\bCOMMIT PREPARED\b/, onlyIn: [] },
  { pattern: /\bINHERITS\b|\bEXCLUDE USING\b|\bDEFERRABLE\b|\bUSING (gist|gin|brin|hash|spgist)\b/i, onlyIn: [] },
  { pattern: /\bCREATE (TEMP|TEMPORARY|UNLOGGED|MATERIALIZED|DOMAIN|TYPE)\b|\bTABLESPACE\b/, onlyIn: [] },
  // Rows and transactions as PostgreSQL numbers them, and its log.
  { pattern: /\btxid_\w+|\b(xmin|xmax|ctid|tableoid)\b/, onlyIn: [] },
  {
    pattern: /\bpg_current_\w+|\bpg_last_\w+/,
    onlyIn: ['storage/postgres/confirmed-commits.ts', 'storage/postgres/server-settings.ts'],
  },
  {
    pattern: /\bWITH RECURSIVE\b|\bTABLESAMPLE\b|\bMERGE INTO\b|\bCOPY \w+ (FROM|TO)\b|\bDECLARE \w+ CURSOR\b/,
    onlyIn: [],
  },
  { pattern: /\bVACUUM\b|\bTRUNCATE\b|\bGENERATED ALWAYS\b|\bBIGSERIAL\b/, onlyIn: [] },
  // One order of texts everywhere; CockroachDB has no other collation for a column with an index.
  { pattern: /\bCOLLATE (?!"C")/, onlyIn: [] },
  // Declarative partitions, and how rows are stored: CockroachDB has neither. Those of a window are something else.
  {
    pattern: /(?<!OVER \()\bPARTITION (BY|OF)\b/,
    onlyIn: ['telemetry/postgres/tables.ts'],
  },
  { pattern: /\b(ATTACH|DETACH) PARTITION\b|\(LIKE \w+/, onlyIn: ['telemetry/postgres/days.ts'] },
  {
    pattern: /\bSET STORAGE\b|\bSET COMPRESSION\b|\bfillfactor\b/,
    onlyIn: ['telemetry/postgres/tables.ts'],
  },
  // Catalogues and settings.
  {
    pattern: /\bpg_(?!notify\b|try_|advisory_|current_|last_)[a-z_]+\b|\bto_regclass\(|\bcurrent_setting\(/,
    onlyIn: [
      'storage/postgres/confirmed-commits.ts',
      'storage/postgres/examination.ts',
      'storage/postgres/migrations.ts',
      'storage/postgres/node-roles.ts',
      'storage/postgres/server-settings.ts',
      'storage/postgres/stalled-connections.ts',
      'telemetry/postgres/days.ts',
      'telemetry/postgres/tables.ts',
    ],
  },
];

const files = sourceFiles('.ts')
  .filter((path) => !SPEAKS_TO_OTHERS.test(path) && !path.endsWith('.test.ts'))
  .map((path) => ({ path, text: withoutComments(readFileSync(join(root, path), 'utf8')) }))
  .filter(({ path, text }) => SPEAKS_TO_POSTGRES.test(path) || HAS_SQL.test(text));

function withoutComments(text: string): string {
  return text.replace(/^\s*(\/\*\*?|\*|\/\/|--).*$/gm, '');
}

it.each(WORDS)('the SQL uses $pattern in no file but those named here', ({ pattern, onlyIn }) => {
  const using = files.filter(({ text }) => pattern.test(text)).map(({ path }) => path);
  expect(using.toSorted()).toEqual(onlyIn.toSorted());
});

it('the statements of every part that stores on PostgreSQL are looked at', () => {
  const withSql = files.filter(({ text }) => /\b(SELECT|INSERT INTO|UPDATE|CREATE TABLE)\b/.test(text));
  const folders = new Set(withSql.map(({ path }) => path.split('/').slice(0, -1).join('/')));
  for (const folder of [
    'storage/postgres',
    'registry/devices',
    'telemetry/postgres',
    'telemetry/copy',
    'broker/cluster',
  ]) {
    expect(folders).toContain(folder);
  }
});
