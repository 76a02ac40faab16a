/**
 * What a node has seen confirmed by the database of its fleet, in a file of its data directory: how often its lease was renewed, the commits that
 * were confirmed last, and the head of the audit. A database that lacks any of it went back to an earlier state: it was restored from a backup, or a standby became the primary that
 * had not received all. Revocations may be missing then, so a node refuses it until an operator accepts that.
 */

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Problem } from '@rollcall/protocol';
import { z } from 'zod';
import type { SharedRegistry } from '../../registry/open.ts';
import {
  LeaseTable,
  NODE_LEASES,
  type PostgresDatabase,
  readStoreGenerations,
  type StoreGeneration,
} from '../../storage/postgres/index.ts';

const auditSchema = z.object({ id: z.int().min(0), hash: z.string() });
const stateSchema = z.object({
  /** The id of the store's first generation. */
  store: z.string(),
  generation: z.object({ number: z.int(), id: z.string() }),
  node: z.string(),
  /** Of the lease of this node. */
  renewals: z.int(),
  /** Null until an audit was seen. */
  audit: auditSchema.nullable(),
  /** Marks of the commits that were confirmed last; none of a release that marks none. */
  commits: z
    .array(z.object({ system: z.string(), timeline: z.int(), place: z.int(), transaction: z.string().regex(/^\d+$/) }))
    .default([]),
  /** Milliseconds since the epoch. */
  at: z.number(),
});

export type ConfirmedState = z.infer<typeof stateSchema>;

/** Undefined when this node has seen nothing. Throws Problem `data_directory_unusable`. */
export function readConfirmedState(file: string): ConfirmedState | undefined {
  try {
    return stateSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Problem('data_directory_unusable', {
      reason: `${file}: expected what this node has seen of its database`,
      hint: 'move the file away if you know that the database lacks nothing',
      cause,
    });
  }
}

/** Without a wait of this thread for the disk. `isVoid`: another one was written meanwhile. */
export async function saveConfirmedState(file: string, state: ConfirmedState, isVoid: () => boolean): Promise<void> {
  const draft = `${file}.draft`;
  await writeFile(draft, textOf(state), { mode: 0o600, flush: true });
  if (!isVoid()) renameSync(draft, file);
}

/** Replaces the file; it is on disk when this returns. */
export function writeConfirmedState(file: string, state: ConfirmedState): void {
  const descriptor = openSync(`${file}.new`, 'w', 0o600);
  try {
    writeFileSync(descriptor, textOf(state));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(`${file}.new`, file);
}

export interface StoreComparison {
  readonly store: string;
  readonly generation: StoreGeneration;
  /** An operator has accepted an earlier state since this node has seen the store last. */
  readonly isAccepted: boolean;
  /** What the database lacks, as a sentence; undefined when it lacks nothing that is known here. */
  readonly fault: string | undefined;
}

/** Compares all but the audit. The tables have to be there. Throws what the database throws. */
export async function compareStore(
  state: ConfirmedState | undefined,
  { database, node, now }: { readonly database: PostgresDatabase; readonly node: string; readonly now: () => number },
): Promise<StoreComparison> {
  const generations = await readStoreGenerations(database, now());
  const generation = generations.at(-1) ?? generations[0];
  const store = generations[0].id;
  const found = { store, generation, isAccepted: false, fault: undefined };
  if (state === undefined) return { ...found, isAccepted: generation.number > 1 };
  // Another database, such as that to which the fleet has moved: the audit has moved with it.
  if (state.store !== store) return found;
  if (generation.number > state.generation.number) return { ...found, isAccepted: true };
  if (generation.id !== state.generation.id) {
    return {
      ...found,
      fault: `expected generation ${state.generation.number} of the store, found ${generation.number}`,
    };
  }
  if (state.node !== node) return found;
  const [lease] = await new LeaseTable({ database, node, now }).read([NODE_LEASES + node]);
  const renewals = lease?.renewals ?? 0;
  if (renewals >= state.renewals) return { ...found, fault: await database.missingOf(state.commits) };
  const seen = `${state.renewals} renewals of the lease of ${node}`;
  return { ...found, fault: `expected at least ${seen}, the last one at ${timeOf(state.at)}, found ${renewals}` };
}

/** What the audit lacks, as a sentence. */
export async function compareAudit(
  state: ConfirmedState | undefined,
  registry: Pick<SharedRegistry, 'auditHead' | 'hasAuditEntry'>,
): Promise<string | undefined> {
  const { audit, at } = state ?? { audit: null, at: 0 };
  if (audit === null || (await registry.hasAuditEntry(audit))) return undefined;
  const { id } = await registry.auditHead();
  const found = id < audit.id ? `an audit that ends with entry ${id}` : 'another one';
  return `expected entry ${audit.id} of the audit as it was confirmed before ${timeOf(at)}, found ${found}`;
}

export function databaseRestored(reason: string): Problem {
  return new Problem('database_restored', {
    reason,
    hint:
      'if a standby or another copy of the database has all, make that one the primary; otherwise accept what is lost with ' +
      '"rollcall node accept-restored" on this host, repeat the revocations that are missing, and start the nodes',
  });
}

function textOf(state: ConfirmedState): string {
  return `${JSON.stringify(state)}\n`;
}

function timeOf(at: number): string {
  return new Date(at).toISOString();
}
