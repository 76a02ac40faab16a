/** What both directions of a migration have in common: its options, its report, and the parts that are compared. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { countSharedSessions, SessionsDigest } from '../../broker/index.ts';
import { auditFault, type CopiedTable, digestRegistry, type PostgresRegistryRows } from '../../registry/open.ts';
import type { Config } from '../config/config.ts';

export interface MigrationOptions {
  /** `data`: the directory, source or target. `store`: the shared store, target or source. */
  readonly config: Pick<Config, 'data' | 'store'>;
  /** Copies journals alone, while a server uses the data directory; the migration goes on from there. Only to a shared store. */
  readonly isJournalsFirst: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** How much of a kind was done so far: `telemetry`, 12,000 messages. */
  readonly progress: (step: 'copied' | 'compared', kind: string, amount: number) => void;
  readonly waiting: (what: string) => void;
}

export interface MigrationReport {
  readonly state: 'counted' | 'journals copied' | 'moved';
  readonly from: string;
  readonly to: string;
  /** How many there are, by what they are. */
  readonly counts: Readonly<Record<string, number>>;
  /** Segments that cannot be read, and stay where they are. */
  readonly damaged: readonly string[];
}

type Registry = Pick<PostgresRegistryRows, 'pages'>;

/** Counts of rows by table. Throws Problem `store_differs`. */
export async function compareRegistries(
  source: Registry,
  target: Registry,
  tables: readonly CopiedTable[],
): Promise<Readonly<Record<string, number>>> {
  const [expected, found] = [await digestRegistry(source, tables), await digestRegistry(target, tables)];
  const counts: Record<string, number> = {};
  for (const { name } of tables) {
    const [one, other] = [expected[name], found[name]];
    if (one === undefined || one.hash !== other?.hash) {
      throw new Problem('store_differs', {
        reason: `expected ${one?.rows ?? 0} rows of ${name}, found ${other?.rows ?? 0}, or others`,
      });
    }
    counts[countName(name)] = one.rows;
  }
  const fault = await auditFault(target, tables);
  if (fault !== undefined) throw new Problem('store_differs', { reason: fault });
  return counts;
}

/** Throws Problem `store_differs`. */
export function compareSessions(expected: SessionsDigest, found: SessionsDigest): Readonly<Record<string, number>> {
  if (expected.hash !== found.hash) {
    throw new Problem('store_differs', {
      reason: `expected sessions ${JSON.stringify(expected.rows)}, found ${JSON.stringify(found.rows)}, or others`,
    });
  }
  return namedCounts(expected.rows);
}

/** As a person reads them. */
export function namedCounts(counts: Awaited<ReturnType<typeof countSharedSessions>>): Readonly<Record<string, number>> {
  return {
    'persistent sessions': counts.sessions,
    subscriptions: counts.subscriptions,
    'queued messages': counts.queued,
    'QoS 2 messages in progress': counts.incoming,
    'retained messages': counts.retained,
    wills: counts.wills,
  };
}

/** Of a table, as a person reads it. */
export function countName(table: string): string {
  return table === 'audit' ? 'audit entries' : table.replaceAll('_', ' ');
}
