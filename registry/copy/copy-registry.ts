/** Copies a registry from one engine to another, and compares two. Tables are found in the schema: one that is added is copied as well. */

import { createHash } from 'node:crypto';
import { AuditChainVerifier, type StoredAuditEntry } from '../audit/audit-chain.ts';
import type { SqlValue } from '../transaction.ts';
import type { CopiedRow, CopiedTable, CopyOrder } from './copied-table.ts';

export interface RegistryRows {
  pages(table: CopiedTable, order: CopyOrder): AsyncGenerator<readonly CopiedRow[]>;
  fill(
    tables: readonly CopiedTable[],
    write: (insert: (table: CopiedTable, rows: readonly CopiedRow[]) => Promise<void>) => Promise<void>,
  ): Promise<void>;
}

/** `copied`: rows of a table so far, for progress. */
export async function copyRegistry(
  from: Pick<RegistryRows, 'pages'>,
  to: Pick<RegistryRows, 'fill'>,
  tables: readonly CopiedTable[],
  copied: (table: string, rows: number) => void = () => {},
): Promise<void> {
  await to.fill(tables, async (insert) => {
    for (const table of tables) {
      let rows = 0;
      for await (const page of from.pages(table, 'references')) {
        await insert(table, page);
        rows += page.length;
        copied(table.name, rows);
      }
    }
  });
}

export interface TableDigest {
  readonly rows: number;
  /** SHA-256 of all rows in the order of the key. */
  readonly hash: string;
}

/** By table, in the order of `tables`. */
export async function digestRegistry(
  of: Pick<RegistryRows, 'pages'>,
  tables: readonly CopiedTable[],
): Promise<Readonly<Record<string, TableDigest>>> {
  const digests: Record<string, TableDigest> = {};
  for (const table of tables) {
    const hash = createHash('sha256');
    let rows = 0;
    for await (const page of of.pages(table, 'key')) {
      for (const row of page) hash.update(`${JSON.stringify(table.columns.map((column) => plain(row[column])))}\n`);
      rows += page.length;
    }
    digests[table.name] = { rows, hash: hash.digest('hex') };
  }
  return digests;
}

/** The first fault of the audit's chain, as a sentence; undefined for a whole one. */
export async function auditFault(
  of: Pick<RegistryRows, 'pages'>,
  tables: readonly CopiedTable[],
): Promise<string | undefined> {
  const check = new AuditChainVerifier();
  for (const table of tables.filter(({ name }) => name === 'audit')) {
    for await (const page of of.pages(table, 'key')) {
      for (const entry of page) check.add(entry as unknown as StoredAuditEntry & { readonly hash: string });
    }
  }
  check.finish();
  return check.fault;
}

function plain(value: SqlValue | undefined): unknown {
  return value instanceof Uint8Array ? [Buffer.from(value).toString('base64')] : (value ?? null);
}
