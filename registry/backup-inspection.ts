/** Reads what a backup states about a registry, from a connection or a file that no server uses. Writes nothing. */

import { Problem } from '@rollcall/protocol';
import type { Database } from 'better-sqlite3';
import { openDatabaseToRead } from '../storage/index.ts';
import { AuditChainVerifier, type AuditHead, CHAIN_START, type StoredAuditEntry } from './audit/audit-chain.ts';

/** Null for a registry from before audits were chained. */
export function readAuditHead(database: Database): AuditHead | null {
  if (!hasColumn(database, 'audit', 'hash')) return null;
  const found = database.prepare('SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1').get();
  return (found as AuditHead | undefined) ?? { id: 0, hash: CHAIN_START };
}

/** Reads the whole audit. Problem `backup_unusable` when an entry was changed or is missing. */
export function readVerifiedAuditHead(file: string): AuditHead | null {
  const database = openDatabaseToRead(file);
  try {
    if (!hasColumn(database, 'audit', 'hash')) return null;
    const check = new AuditChainVerifier();
    for (const entry of database.prepare('SELECT * FROM audit ORDER BY id').iterate()) {
      check.add(entry as StoredAuditEntry & { readonly hash: string });
    }
    check.finish();
    if (check.fault === undefined) return check.head;
    throw new Problem('backup_unusable', { detail: `expected a whole audit: ${check.fault}` });
  } finally {
    database.close();
  }
}

/** DER of the issuing CA that signs; undefined when there is none. */
export function readActiveIssuer(file: string): Uint8Array | undefined {
  const database = openDatabaseToRead(file);
  try {
    if (!hasColumn(database, 'issuers', 'der')) return undefined;
    const sql = `SELECT der FROM issuers WHERE role = 'issuing' AND state = 'active'`;
    return (database.prepare(sql).get() as { readonly der: Uint8Array } | undefined)?.der;
  } finally {
    database.close();
  }
}

function hasColumn(database: Database, table: string, column: string): boolean {
  const columns = database.pragma(`table_info(${table})`) as readonly { readonly name: string }[];
  return columns.some(({ name }) => name === column);
}
