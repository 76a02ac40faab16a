/** An operator accepts that the database of the fleet went back to an earlier state, on a host whose node was refused for it. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { openPostgresRegistry } from '../../registry/open.ts';
import { lockDirectory, PollingWakes } from '../../storage/index.ts';
import {
  addStoreGeneration,
  LEASE_TABLES,
  migrate,
  PostgresDatabase,
  STORE_GENERATION_TABLES,
} from '../../storage/postgres/index.ts';
import type { Config } from '../config/config.ts';
import { configuredStore } from '../config/store-settings.ts';
import { openDataDirectory } from '../data-directory.ts';
import { compareAudit, compareStore, readConfirmedState } from './confirmed-state.ts';
import { isShared, nodeNameOf } from './node-settings.ts';

export interface AcceptedRestore {
  readonly generation: number;
  /** What the database lacks. */
  readonly lacks: string;
  /** When this node last saw something confirmed, milliseconds since the epoch. */
  readonly seenAt: number;
  /** The newest entry that the audit has. */
  readonly auditEntry: number;
  readonly auditAt: number | undefined;
}

const ACTOR = 'server/restore';

/**
 * Records it in the audit, begins another generation of the store, which every node finds at its next start, and ends the sessions of operators.
 * Throws Problem `usage` when this host knows of nothing that the database lacks, `data_directory_busy`, and what the database throws.
 */
export async function acceptRestored(options: {
  readonly config: Config;
  readonly now: () => number;
  readonly log: Logger;
}): Promise<AcceptedRestore> {
  const { config, now, log } = options;
  if (!isShared(config)) throw new Problem('usage', { reason: 'expected a store that several nodes share: store.url' });
  const node = nodeNameOf(config);
  const data = openDataDirectory(config.data);
  const lock = lockDirectory(data.path);
  const database = new PostgresDatabase({
    ...configuredStore(config.store, now),
    applicationName: `rollcall ${node} accept-restored`,
  });
  const wakes = new PollingWakes(60_000);
  try {
    await database.check();
    for (const tables of [LEASE_TABLES, STORE_GENERATION_TABLES]) await migrate(database, tables);
    const registry = await openPostgresRegistry({ database: database.apart({}), wakes, node, now, log });
    try {
      const state = readConfirmedState(data.confirmedStateFile);
      const { generation, isAccepted, fault } = await compareStore(state, { database, node, now });
      const lacks = fault ?? (isAccepted ? undefined : await compareAudit(state, registry));
      if (state === undefined || lacks === undefined) {
        throw new Problem('usage', {
          reason: 'the database lacks nothing that this host has seen',
          hint: isAccepted
            ? 'it was accepted already: start the node'
            : 'give the command on a host whose node was refused',
        });
      }
      const [newest] = await registry.listAudit({ limit: 1 });
      const head = await registry.auditHead();
      const number = Math.max(generation.number, state.generation.number) + 1;
      await registry.recordAction({
        ...{ actor: ACTOR, action: 'fleet.restored', subject: `store/${number}`, outcome: 'done' },
        details: {
          node,
          auditEntry: head.id,
          seenAuditEntry: state.audit?.id ?? 0,
          seenAt: new Date(state.at).toISOString(),
        },
      });
      await registry.endAllOperatorSessions(ACTOR);
      await addStoreGeneration(database, number, now());
      return { generation: number, lacks, seenAt: state.at, auditEntry: head.id, auditAt: newest?.at };
    } finally {
      await registry.close();
    }
  } finally {
    await wakes.close();
    await database.close();
    lock.release();
  }
}
