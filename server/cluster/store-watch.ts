/**
 * Compares the database with what this node has seen confirmed, at its start, and remembers what it sees confirmed from then on: every five seconds
 * and at its end. That the database goes back while the node runs is found by its lease, at its next connection and with each renewal.
 */

import type { Logger } from 'pino';
import type { AuditHead } from '../../registry/index.ts';
import type { SharedRegistry } from '../../registry/open.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import {
  type ConfirmedState,
  compareAudit,
  compareStore,
  databaseRestored,
  readConfirmedState,
  type StoreComparison,
  saveConfirmedState,
  writeConfirmedState,
} from './confirmed-state.ts';

export interface StoreWatchOptions {
  /** Path of the file. */
  readonly file: string;
  readonly database: PostgresDatabase;
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** What a node that has its lease knows. */
export interface Confirmations {
  /** Renewals of its lease that were confirmed. */
  readonly renewals: () => number;
  /** When the last one of them was sent, by `clock`. */
  readonly heardAt: () => number;
  readonly clock: () => number;
}

type AuditReader = Pick<SharedRegistry, 'auditHead' | 'hasAuditEntry'>;

const EVERY_MS = 5_000;
const NOT_REMEMBERED = 'what the database has confirmed could not be remembered';

export class StoreWatch {
  /** This is the first start of this node since an operator accepted an earlier state. */
  readonly isRestored: boolean;
  readonly #options: StoreWatchOptions;
  readonly #before: ConfirmedState | undefined;
  readonly #found: StoreComparison;
  #audit: AuditHead | null;
  /** Read, and not known to be confirmed yet. */
  #seen: { readonly head: AuditHead; readonly at: number } | undefined;
  #confirmations: Confirmations | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Throws Problem `database_restored` or `data_directory_unusable`, and what the database throws. */
  static async open(options: StoreWatchOptions): Promise<StoreWatch> {
    const before = readConfirmedState(options.file);
    const found = await compareStore(before, options);
    if (found.fault !== undefined) throw databaseRestored(found.fault);
    return new StoreWatch(options, before, found);
  }

  private constructor(options: StoreWatchOptions, before: ConfirmedState | undefined, found: StoreComparison) {
    this.#options = options;
    this.#before = before;
    this.#found = found;
    this.isRestored = found.isAccepted;
    this.#audit = found.isAccepted ? null : (before?.audit ?? null);
  }

  /** Compares the audit as well, and remembers from now on. Throws Problem `database_restored`, and what the database throws. */
  async watch(registry: AuditReader, confirmations: Confirmations): Promise<void> {
    const { log } = this.#options;
    const { isAccepted, generation } = this.#found;
    const fault = isAccepted ? undefined : await compareAudit(this.#before, registry);
    if (fault !== undefined) throw databaseRestored(fault);
    if (isAccepted)
      log.warn({ generation: generation.number }, 'the database was restored, and an operator accepted it');
    this.#confirmations = confirmations;
    let looking: Promise<void> | undefined;
    const look = () => {
      looking ??= this.#look(registry, confirmations)
        .catch((error: unknown) => log.warn({ err: error }, NOT_REMEMBERED))
        .finally(() => {
          looking = undefined;
        });
      return looking;
    };
    await look();
    this.#timer = setInterval(() => void look(), EVERY_MS).unref();
  }

  /**
   * For the last time, before the lease is released or given up: it is on disk when this returns. A disk that is full does not keep the node
   * from its end: what was remembered before stays.
   */
  end(): void {
    clearInterval(this.#timer);
    const confirmations = this.#confirmations;
    this.#confirmations = undefined;
    if (confirmations === undefined) return;
    try {
      writeConfirmedState(this.#options.file, this.#stateOf(confirmations));
    } catch (error) {
      this.#options.log.warn({ err: error }, NOT_REMEMBERED);
    }
  }

  #stateOf({ renewals }: Confirmations): ConfirmedState {
    const { node, database, now } = this.#options;
    const { store, generation } = this.#found;
    return {
      ...{ store, node, audit: this.#audit, renewals: renewals(), at: now() },
      generation: { number: generation.number, id: generation.id },
      commits: [...database.confirmedCommits],
    };
  }

  /** A commit that was sent after the head was read, and is confirmed, says that the head is confirmed: both are in one log of the database. */
  async #look(registry: AuditReader, confirmations: Confirmations): Promise<void> {
    const { heardAt, clock } = confirmations;
    if (this.#seen !== undefined && heardAt() > this.#seen.at) this.#audit = this.#seen.head;
    const isVoid = () => this.#confirmations === undefined;
    await saveConfirmedState(this.#options.file, this.#stateOf(confirmations), isVoid);
    const head = await registry.auditHead();
    this.#seen = { head, at: clock() };
  }
}
