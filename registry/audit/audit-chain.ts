/**
 * What makes the audit a chain: the canonical form of an entry, its hash over the entry before it, and the check of a
 * row of entries. Knows no database, so that an exported audit can be checked anywhere.
 *
 * `hash = SHA-256(previous hash, line feed, canonical entry)`; the first entry's previous hash is 64 zeros. The
 * canonical form is JSON without white space, keys in order (RFC 8785): `{"action":…,"actor":…,"at":…,"details":{…},
 * "id":…,"outcome":…,"subject":…}`, `at` in milliseconds since the epoch.
 */

import { hash } from 'node:crypto';
import type Database from 'better-sqlite3';
import type { AuditEntry } from './audit-store.ts';

/** Previous hash of the first entry. */
export const CHAIN_START = '0'.repeat(64);

/** An entry as it is stored: its details are JSON text. */
export interface StoredAuditEntry extends Omit<AuditEntry, 'details' | 'hash'> {
  readonly details: string;
}

export interface AuditHead {
  /** 0: there is no entry yet. */
  readonly id: number;
  readonly hash: string;
}

/** JSON with its keys in order: the same details give the same text. */
export function canonicalDetails(details: AuditEntry['details']): string {
  const keys = Object.keys(details).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(details[key])}`).join(',')}}`;
}

export function hashEntry(previous: string, entry: StoredAuditEntry): string {
  const text = (value: string) => JSON.stringify(value);
  const canonical =
    `{"action":${text(entry.action)},"actor":${text(entry.actor)},"at":${entry.at},"details":${entry.details},` +
    `"id":${entry.id},"outcome":${text(entry.outcome)},"subject":${text(entry.subject)}}`;
  return hash('sha256', `${previous}\n${canonical}`, 'hex');
}

/** Checks entries one after the other, oldest first. */
export class AuditChainVerifier {
  #head: AuditHead | undefined;
  #entries = 0;
  #fault: string | undefined;
  readonly #expected: AuditHead | undefined;
  #hasMetExpected = false;

  /** `expected`: a head that was stored elsewhere and has to be part of the chain. */
  constructor(expected?: AuditHead) {
    this.#expected = expected;
    if (expected?.id === 0) this.#hasMetExpected = true;
  }

  get entries(): number {
    return this.#entries;
  }

  get head(): AuditHead {
    return this.#head ?? { id: 0, hash: CHAIN_START };
  }

  /** The first fault, as a sentence that names the entry; undefined while there is none. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** `previous` is the hash of the entry before it, when the entry was exported with it. */
  add(entry: StoredAuditEntry & { readonly hash: string; readonly previous?: string }): void {
    if (this.#fault !== undefined) return;
    const expectedId = this.#head === undefined ? entry.id : this.#head.id + 1;
    const previous = this.#head?.hash ?? entry.previous ?? CHAIN_START;
    if (entry.id !== expectedId) {
      this.#fault = `expected entry ${expectedId}, found ${entry.id}: entries are missing or out of order`;
    } else if (entry.previous !== undefined && entry.previous !== previous) {
      this.#fault = `entry ${entry.id} does not continue the one before it: something was changed or taken out`;
    } else if (hashEntry(previous, entry) !== entry.hash) {
      this.#fault = `entry ${entry.id} does not have the hash it was written with: it or the one before it was changed`;
    } else if (this.#expected?.id === entry.id && this.#expected.hash !== entry.hash) {
      this.#fault = `entry ${entry.id} is not the one whose head was kept: everything up to it may have been rewritten`;
    }
    if (this.#expected?.id === entry.id) this.#hasMetExpected = true;
    this.#head = { id: entry.id, hash: entry.hash };
    this.#entries += 1;
  }

  /** After the last entry: checks that the end is not missing. `lastId` is the highest id that was ever assigned. */
  finish(lastId?: number): void {
    if (this.#fault !== undefined) return;
    if (lastId !== undefined && lastId !== this.head.id) {
      this.#fault = `expected entries up to ${lastId}, found ${this.head.id} as the last: the end is missing`;
    } else if (this.#expected !== undefined && !this.#hasMetExpected) {
      this.#fault = `expected entry ${this.#expected.id}, whose head was kept, found ${this.head.id} as the last: the end is missing`;
    }
  }
}

/** Parses an exported line; undefined when it is not an entry. */
export function readExportedEntry(
  line: string,
): (StoredAuditEntry & { readonly hash: string; readonly previous: string }) | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, at, actor, action, subject, outcome, details, hash: own, previous } = value as Record<string, unknown>;
  const texts = [actor, action, subject, outcome, own, previous];
  const sound =
    Number.isSafeInteger(id) &&
    Number.isSafeInteger(at) &&
    texts.every((text) => typeof text === 'string') &&
    typeof details === 'object' &&
    details !== null;
  if (!sound) return undefined;
  return {
    ...(value as StoredAuditEntry & { hash: string; previous: string }),
    details: canonicalDetails(details as never),
  };
}

/** For the migration that chained the entries of older versions. */
export function addAuditChainFunctions(database: Database.Database): void {
  const options = { deterministic: true, directOnly: true } as const;
  database.function('audit_details', options, (details: unknown) => canonicalDetails(JSON.parse(String(details))));
  database.function(
    'audit_hash',
    options,
    (previous: unknown, id, at, actor, action, subject, outcome, details: unknown) =>
      hashEntry(String(previous), { id, at, actor, action, subject, outcome, details } as StoredAuditEntry),
  );
}
