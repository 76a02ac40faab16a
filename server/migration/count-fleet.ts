/** What a migration would move. Changes nothing, and needs no lock: servers may use the store, also those of an earlier release. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { countRows, countSharedSessions, peekSessionFile } from '../../broker/index.ts';
import { PostgresRegistryRows, SqliteRegistryRows } from '../../registry/open.ts';
import { loadJournalCopies } from '../../telemetry/index.ts';
import { dataDirectoryAt } from '../data-directory.ts';
import { countName, type MigrationOptions, type MigrationReport, namedCounts } from './migration.ts';
import { connectSharedStore, sharedStoreName } from './shared-store-access.ts';
import { directoryName, JOURNALS } from './to-shared-store.ts';

/** Of a data directory; also connects to the shared store, and checks its settings. */
export async function countDataDirectory({ config, now }: MigrationOptions): Promise<MigrationReport> {
  const data = dataDirectoryAt(config.data);
  if (!existsSync(data.registryFile)) {
    throw new Problem('data_directory_unusable', {
      reason: `${data.path}: expected the stores of a fleet, found none`,
    });
  }
  const database = connectSharedStore(config.store, now);
  try {
    await database.check();
  } finally {
    await database.close();
  }
  const counts: Record<string, number> = {};
  const registry = new SqliteRegistryRows(data.registryFile, 'to count');
  try {
    for (const table of registry.tables()) counts[countName(table.name)] = registry.count(table);
  } finally {
    registry.close();
  }
  const sessions = peekSessionFile(data.sessionFile);
  if (sessions !== undefined) Object.assign(counts, namedCounts(countRows(sessions)));
  const { countFileMessages } = await loadJournalCopies();
  for (const journal of JOURNALS) counts[journal] = countFileMessages(data[journal]);
  return { state: 'counted', from: directoryName(data.path), to: sharedStoreName(config.store), counts, damaged: [] };
}

/** Of a shared store. */
export async function countSharedStore({ config, now }: MigrationOptions): Promise<MigrationReport> {
  const scratch = mkdtempSync(join(tmpdir(), 'rollcall-migrate-'));
  const database = connectSharedStore(config.store, now);
  try {
    await database.check();
    const counts: Record<string, number> = {};
    const shared = await PostgresRegistryRows.open(database, 'to count');
    const tables = new SqliteRegistryRows(join(scratch, 'registry.db'));
    for (const table of tables.tables()) counts[countName(table.name)] = await shared.count(table);
    tables.close();
    Object.assign(counts, namedCounts(await countSharedSessions(database)));
    const { countLaneMessages } = await loadJournalCopies();
    for (const journal of JOURNALS) counts[journal] = await countLaneMessages(database, journal);
    const to = directoryName(dataDirectoryAt(config.data).path);
    return { state: 'counted', from: sharedStoreName(config.store), to, counts, damaged: [] };
  } finally {
    await database.close();
    rmSync(scratch, { recursive: true, force: true });
  }
}
