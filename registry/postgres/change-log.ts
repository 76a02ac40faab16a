/**
 * Committed changes that the listeners of all nodes hear of. A change is a row that is written in the transaction which makes it; each
 * node reads the rows of the others by its cursor, tells its own listeners and confirms with what they reported. A wake only says
 * that there may be rows.
 *
 * Rows are written while the head of the audit is locked, so that positions have the order of the commits and no reader passes by a
 * row that is committed later. The cursor is in memory: a node that starts has no sessions that an earlier change could end.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Wakes } from '../../storage/index.ts';
import type { PostgresDatabase, PostgresTransaction } from '../../storage/postgres/index.ts';
import type { OtherNodes } from '../database.ts';
import type { ChangeKind } from '../transaction.ts';

export interface PublishedChange {
  readonly kind: ChangeKind;
  /** JSON. */
  readonly change: unknown;
}

export interface ChangeLogOptions {
  readonly database: PostgresDatabase;
  readonly wakes: Wakes;
  /** The name of this node. */
  readonly node: string;
  /** Names of the other nodes whose confirmation a change waits for. */
  readonly others: () => Promise<readonly string[]>;
  /** How long it waits, milliseconds. */
  readonly confirmWithin: number;
  readonly now: () => number;
  readonly log: Logger;
}

/** Tells the listeners of this node. Returns what they report. */
export type TellListeners = (kind: ChangeKind, change: unknown) => Promise<readonly unknown[]>;

const CHANGES = 'registry.changes';
const CONFIRMATIONS = 'registry.confirmations';
const PAGE = 500;
/** A node that did not read for so long has closed all sessions long before. */
const KEPT_MS = 3_600_000;
const PRUNED_EVERY_MS = 600_000;

const NEWEST = 'SELECT coalesce(max(position), 0) AS position FROM registry_changes';
const INSERT = {
  name: 'registry insert changes',
  text: `INSERT INTO registry_changes (kind, node, change, at)
    SELECT kind, $1, change, $2 FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS published (kind, change, number)
    ORDER BY number RETURNING position`,
};
const READ = {
  name: 'registry read changes',
  text: `SELECT position, kind, node, change FROM registry_changes WHERE position > $1 ORDER BY position LIMIT ${PAGE}`,
};
const CONFIRM = {
  name: 'registry confirm changes',
  text: `INSERT INTO change_confirmations (position, node, report)
    SELECT position, $1, report FROM unnest($2::bigint[], $3::text[]) AS told (position, report) ON CONFLICT DO NOTHING`,
};
const CONFIRMED = {
  name: 'registry read confirmations',
  text: 'SELECT position, node, report FROM change_confirmations WHERE position = ANY ($1::bigint[])',
};

interface ChangeRow {
  readonly position: number;
  readonly kind: ChangeKind;
  readonly node: string;
  readonly change: string;
}

/** Of a change of this node: its commit is not confirmed yet, it was told by this node itself, or its row was read before either. */
type OwnChange = 'pending' | 'told' | ChangeRow;

interface Waiting {
  /** Nodes that have not confirmed yet. */
  readonly missing: Set<string>;
  readonly reports: unknown[];
  readonly resolve: (reports: readonly unknown[]) => void;
  readonly timer: NodeJS.Timeout;
}

export class ChangeLog implements OtherNodes {
  readonly #options: ChangeLogOptions;
  readonly #positions = new WeakMap<object, number>();
  readonly #own = new Map<number, OwnChange>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #told: { readonly position: number; readonly report: string }[] = [];
  readonly #reading: SingleRun;
  readonly #confirming: SingleRun;
  /** Changes that listeners of this node are hearing of. */
  readonly #telling = new Set<Promise<void>>();
  readonly #collecting: SingleRun;
  #tell: TellListeners = async () => [];
  #unsubscribe: readonly (() => void)[] = [];
  #cursor = 0;
  #prunedAt = 0;

  constructor(options: ChangeLogOptions) {
    this.#options = options;
    this.#reading = new SingleRun(() => this.#read(), options.log);
    this.#confirming = new SingleRun(() => this.#confirm(), options.log);
    this.#collecting = new SingleRun(() => this.#collect(), options.log);
  }

  /** From now on the listeners hear of what other nodes commit. Throws what the database throws. */
  async start(tell: TellListeners): Promise<void> {
    const { database, wakes } = this.#options;
    this.#tell = tell;
    const { rows } = await database.query<{ position: number }>(NEWEST);
    this.#cursor = rows[0]?.position ?? 0;
    this.#unsubscribe = [
      wakes.onWake(CHANGES, () => void this.#reading.request()),
      wakes.onWake(CONFIRMATIONS, () => void this.#collecting.request()),
    ];
  }

  /**
   * Resolves when the listeners have heard of all that other nodes have committed until now. Throws Problem `unavailable` and what the
   * database throws.
   */
  async caughtUp(): Promise<void> {
    const { rows } = await this.#options.database.query<{ position: number }>(NEWEST);
    const newest = rows[0]?.position ?? 0;
    if (this.#cursor < newest) await this.#reading.request();
    if (this.#cursor < newest) throw new Problem('unavailable', { reason: 'changes of other nodes were not read' });
    await Promise.all(this.#telling);
  }

  /** In the transaction that makes the changes, which holds the head of the audit. */
  async insert(connection: PostgresTransaction, published: readonly PublishedChange[]): Promise<readonly number[]> {
    const { node, now } = this.#options;
    const kinds = published.map(({ kind }) => kind);
    const texts = published.map(({ change }) => JSON.stringify(change));
    const { rows } = await connection.query<{ position: number }>(INSERT, [node, now(), kinds, texts]);
    const positions = rows.map(({ position }) => position);
    for (const position of positions) this.#own.set(position, 'pending');
    return positions;
  }

  /** After the commit: the caller tells the listeners of this node. */
  announce(published: readonly PublishedChange[], positions: readonly number[]): void {
    for (const [index, { change }] of published.entries()) {
      const position = positions[index];
      if (position === undefined) continue;
      if (typeof change === 'object' && change !== null) this.#positions.set(change, position);
      if (this.#own.get(position) === 'pending') this.#own.set(position, 'told');
      else this.#own.delete(position);
    }
    this.#options.wakes.wake(CHANGES);
  }

  /**
   * After a commit that was not confirmed, or a transaction that was rolled back. The changes may be stored all the same: then this node
   * hears of them as all others do.
   */
  abandon(positions: readonly number[]): void {
    for (const position of positions) {
      const own = this.#own.get(position);
      this.#own.delete(position);
      if (typeof own === 'object') void this.#tellAndConfirm(own);
    }
  }

  /** What the listeners of other nodes reported of these changes, as far as they confirm in time. */
  async reportsOf(changes: readonly object[]): Promise<readonly unknown[]> {
    const positions = changes.flatMap((change) => this.#positions.get(change) ?? []);
    if (positions.length === 0) return [];
    // The change is committed, whether or not anyone can be asked for.
    const others = await this.#options.others().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, 'the other nodes are not known');
      return [];
    });
    if (others.length === 0) return [];
    const reports = positions.map((position) => this.#wait(position, others));
    void this.#collecting.request();
    return (await Promise.all(reports)).flat();
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const { timer, reports, resolve } of this.#waiting.values()) {
      clearTimeout(timer);
      resolve(reports);
    }
    this.#waiting.clear();
  }

  #wait(position: number, others: readonly string[]): Promise<readonly unknown[]> {
    const { confirmWithin, log } = this.#options;
    return new Promise((resolve) => {
      const missing = new Set(others);
      const reports: unknown[] = [];
      const timer = setTimeout(() => {
        this.#waiting.delete(position);
        log.warn({ position, nodes: [...missing] }, 'nodes did not confirm a change in time');
        resolve(reports);
      }, confirmWithin);
      this.#waiting.set(position, { missing, reports, resolve, timer });
    });
  }

  async #read(): Promise<void> {
    const { database, node } = this.#options;
    for (;;) {
      const { rows } = await database.query<ChangeRow>(READ, [this.#cursor]);
      for (const row of rows) {
        if (row.node !== node || this.#isUntold(row)) this.#begin(this.#tellAndConfirm(row));
        this.#cursor = row.position;
      }
      if (rows.length < PAGE) break;
    }
    await this.#prune();
  }

  /** Whether this change of this node was not told by the node itself. What is not known yet, `announce()` or `abandon()` will say. */
  #isUntold(row: ChangeRow): boolean {
    const own = this.#own.get(row.position);
    if (own === 'pending') this.#own.set(row.position, row);
    else this.#own.delete(row.position);
    return own === undefined;
  }

  #begin(telling: Promise<void>): void {
    this.#telling.add(telling);
    void telling.finally(() => this.#telling.delete(telling));
  }

  /** A node whose listener failed confirms nothing; `Listeners` has logged why. */
  async #tellAndConfirm({ position, kind, change }: ChangeRow): Promise<void> {
    const reports = await this.#tell(kind, JSON.parse(change)).catch(() => undefined);
    if (reports === undefined) return;
    this.#told.push({ position, report: JSON.stringify(reports) });
    void this.#confirming.request();
  }

  async #confirm(): Promise<void> {
    const { database, node, wakes } = this.#options;
    const told = this.#told.splice(0);
    if (told.length === 0) return;
    const positions = told.map(({ position }) => position);
    const reports = told.map(({ report }) => report);
    try {
      // One that is lost with the server is missed by nobody but its reader, who then counts one node less.
      await database.transaction((transaction) => transaction.query(CONFIRM, [node, positions, reports]), {
        mayBeLost: true,
      });
    } catch (error) {
      this.#told.unshift(...told);
      throw error;
    }
    wakes.wake(CONFIRMATIONS);
  }

  async #collect(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const { rows } = await this.#options.database.query<{ position: number; node: string; report: string }>(CONFIRMED, [
      [...this.#waiting.keys()],
    ]);
    for (const { position, node, report } of rows) {
      const waiting = this.#waiting.get(position);
      if (waiting === undefined || !waiting.missing.delete(node)) continue;
      waiting.reports.push(...(JSON.parse(report) as readonly unknown[]));
      if (waiting.missing.size > 0) continue;
      clearTimeout(waiting.timer);
      this.#waiting.delete(position);
      waiting.resolve(waiting.reports);
    }
  }

  async #prune(): Promise<void> {
    const { database, now } = this.#options;
    if (now() < this.#prunedAt + PRUNED_EVERY_MS) return;
    this.#prunedAt = now();
    await database.execute(
      `WITH old AS (DELETE FROM registry_changes WHERE at < $1 RETURNING position)
       DELETE FROM change_confirmations WHERE position IN (SELECT position FROM old)`,
      [now() - KEPT_MS],
    );
  }
}

/** Work that runs once at a time, and once more when it was requested meanwhile. */
class SingleRun {
  readonly #work: () => Promise<void>;
  readonly #log: Logger;
  #running: Promise<void> | undefined;
  #isRequested = false;

  constructor(work: () => Promise<void>, log: Logger) {
    this.#work = work;
    this.#log = log;
  }

  /** Resolves when it has run, or failed. */
  request(): Promise<void> {
    this.#isRequested = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isRequested) {
      this.#isRequested = false;
      try {
        await this.#work();
      } catch (error) {
        // The next wake comes within a second, also when nothing happens.
        this.#log.warn({ err: error }, 'changes of other nodes were not read');
      }
    }
    this.#running = undefined;
  }
}
