/**
 * Committed changes that the listeners of all nodes hear of. A change is a row that is written in the transaction which makes it; each
 * node reads the rows of the others by its cursor, tells its own listeners and confirms with what they reported. A wake only says
 * that there may be rows.
 *
 * Rows are written while the head of the audit is locked, so that positions have the order of the commits and no reader passes by a
 * row that is committed later. The cursor is in memory: a node that starts has no sessions that an earlier change could end.
 *
 * A row can be seen before a standby has it: where a primary is started again after a crash, or the wait of its commit was cancelled. A standby
 * that becomes the primary without it gives its position to another change. So each reading looks whether the last row is still the same,
 * and otherwise begins with the last one that still is, or with the oldest when it remembers none: what is told again ends sessions.
 */

import { formatIdentity, type Identity, Problem } from '@rollcall/protocol';
import type { PostgresTransaction } from '../../storage/postgres/index.ts';
import type { ChangeOutcome, KnownChange, OtherNodes } from '../database.ts';
import { mergeOutcomes, type NodeOutcome } from '../node-outcome.ts';
import { CHANGE_KINDS, type ChangeKind } from '../transaction.ts';
import { type CommittedChange, Confirmations, type ConfirmationsOptions } from './confirmations.ts';
import { SingleRun } from './single-run.ts';

export interface PublishedChange {
  readonly kind: ChangeKind;
  /** JSON. */
  readonly change: unknown;
}

export interface ChangeLogOptions extends ConfirmationsOptions {
  /** Another node made a change of a kind that this release does not know: this node must not go on. Called once, with Problem `node_outdated`. */
  readonly outdated?: ((problem: Problem) => void) | undefined;
}

/** Tells the listeners of this node. Returns what they report. */
export type TellListeners = (kind: ChangeKind, change: unknown) => Promise<readonly unknown[]>;

const CHANGES = 'registry.changes';
const PAGE = 500;
/** A node that did not read for so long has closed all sessions long before. */
const KEPT_MS = 3_600_000;
const PRUNED_EVERY_MS = 600_000;

/** A change that was seen so long ago is on every standby. */
const COMPARED_MS = KEPT_MS / 2;

const COLUMNS = 'position, kind, node, change, at';
const NEWEST = `SELECT ${COLUMNS} FROM registry_changes ORDER BY position DESC LIMIT 1`;
const INSERT = {
  name: 'registry insert changes',
  text: `INSERT INTO registry_changes (kind, node, change, at, subject)
    SELECT kind, $1, change, $2, subject
    FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS published (kind, change, subject, number)
    ORDER BY number RETURNING position`,
};
const READ = {
  name: 'registry read changes',
  text: `SELECT ${COLUMNS} FROM registry_changes WHERE position >= $1 ORDER BY position LIMIT ${PAGE}`,
};
const LAST = {
  name: 'registry read last change',
  text: `SELECT position, kind, change, at FROM registry_changes
    WHERE position = (SELECT max(position) FROM registry_changes WHERE subject = $1)`,
};

interface ChangeRow {
  readonly position: number;
  /** One of `CHANGE_KINDS`, or of a newer release. */
  readonly kind: string;
  readonly node: string;
  readonly change: string;
  readonly at: number;
}

/** Of a change of this node: its commit is not confirmed yet, it was told by this node itself, or its row was read before either. */
type OwnChange = 'pending' | 'told' | ChangeRow;

export class ChangeLog implements OtherNodes {
  readonly #options: ChangeLogOptions;
  readonly #confirmations: Confirmations;
  readonly #committed = new WeakMap<object, CommittedChange>();
  readonly #own = new Map<number, OwnChange>();
  readonly #reading: SingleRun;
  /** Changes that listeners of this node are hearing of. */
  readonly #telling = new Set<Promise<void>>();
  #tell: TellListeners = async () => [];
  #unsubscribe: () => void = () => {};
  /** The last row that was read. */
  #last: ChangeRow | undefined;
  /** The last rows that were read, oldest first. */
  #recent: ChangeRow[] = [];
  #outdated: Problem | undefined;
  #prunedAt = 0;

  constructor(options: ChangeLogOptions) {
    this.#options = options;
    this.#confirmations = new Confirmations(options);
    this.#reading = new SingleRun(() => this.#read(), options.log);
  }

  /** From now on the listeners hear of what other nodes commit. Throws what the database throws. */
  async start(tell: TellListeners): Promise<void> {
    const { database, wakes } = this.#options;
    this.#tell = tell;
    const { rows } = await database.query<ChangeRow>(NEWEST);
    this.#last = rows[0];
    this.#recent = [...rows];
    await this.#confirmations.start();
    this.#unsubscribe = wakes.onWake(CHANGES, () => void this.#reading.request());
  }

  /**
   * Resolves when the listeners have heard of all that other nodes have committed until now. Throws Problem `unavailable`, `node_outdated`
   * and what the database throws.
   */
  async caughtUp(): Promise<void> {
    const { rows } = await this.#options.database.query<ChangeRow>(NEWEST);
    const newest = rows[0]?.position ?? 0;
    await this.#reading.request();
    if (this.#outdated !== undefined) throw this.#outdated;
    if (this.#position < newest) throw new Problem('unavailable', { reason: 'changes of other nodes were not read' });
    await Promise.all(this.#telling);
  }

  /** In the transaction that makes the changes, which holds the head of the audit. */
  async insert(connection: PostgresTransaction, published: readonly PublishedChange[]): Promise<readonly number[]> {
    const { node, now } = this.#options;
    const kinds = published.map(({ kind }) => kind);
    const texts = published.map(({ change }) => JSON.stringify(change));
    const subjects = published.map(subjectOf);
    const at = now();
    const { rows } = await connection.query<{ position: number }>(INSERT, [node, at, kinds, texts, subjects]);
    const positions = rows.map(({ position }) => position);
    for (const [index, position] of positions.entries()) {
      this.#own.set(position, 'pending');
      const change = published[index]?.change;
      if (typeof change === 'object' && change !== null) this.#committed.set(change, { position, at });
    }
    return positions;
  }

  /** After the commit: the caller tells the listeners of this node. */
  announce(positions: readonly number[]): void {
    for (const position of positions) {
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

  async outcomeOf(changes: readonly object[]): Promise<ChangeOutcome> {
    const committed = changes.flatMap((change) => this.#committed.get(change) ?? []);
    const outcomes = await Promise.all(committed.map((one) => this.#confirmations.outcomeOf(one)));
    return {
      reports: outcomes.flatMap(({ reports }) => reports),
      nodes: mergeOutcomes(outcomes.map(({ nodes }) => nodes)),
    };
  }

  confirm(changes: readonly object[]): readonly NodeOutcome[] {
    const committed = changes.flatMap((change) => this.#committed.get(change) ?? []);
    return committed.map(({ position }) => this.#confirmations.confirm(position, [], true)).slice(-1);
  }

  async lastChangeOf(subject: string): Promise<KnownChange | undefined> {
    const { rows } = await this.#options.database.query<ChangeRow & { readonly at: number }>(LAST, [subject]);
    const [row] = rows;
    // What a newer release did, this one cannot say.
    if (row === undefined || !isKnown(row.kind)) return undefined;
    const nodes = await this.#confirmations.knownOf(row);
    return { kind: row.kind, change: JSON.parse(row.change), at: row.at, nodes: mergeOutcomes([nodes]) };
  }

  close(): void {
    this.#unsubscribe();
    this.#confirmations.close();
  }

  get #position(): number {
    return this.#last?.position ?? 0;
  }

  async #read(): Promise<void> {
    const { database, node, log } = this.#options;
    while (this.#outdated === undefined) {
      const { rows } = await database.query<ChangeRow>(READ, [this.#position]);
      if (this.#hasGoneBack(rows[0])) {
        log.warn(
          { position: this.#position },
          'a change that was read is not in the database any more: those since the last one that is are read again',
        );
        this.#last = await this.#lastThatIsThere();
        continue;
      }
      const before = this.#position;
      for (const row of rows) {
        if (row.position === before) continue;
        if (!isKnown(row.kind)) return this.#stopAt(row);
        if (row.node !== node || this.#isUntold(row)) this.#begin(this.#tellAndConfirm(row));
        this.#last = row;
        this.#recent.push(row);
      }
      this.#recent = this.#recent.slice(-PAGE);
      if (rows.length < PAGE) break;
    }
    await this.#prune();
  }

  /** Older ones were told: told again, they would end what has begun since. Undefined: none of those that are remembered. */
  async #lastThatIsThere(): Promise<ChangeRow | undefined> {
    const [oldest] = this.#recent;
    if (oldest === undefined) return undefined;
    const { rows } = await this.#options.database.query<ChangeRow>(READ, [oldest.position]);
    const found = new Map(rows.map((row) => [row.position, row]));
    this.#recent = this.#recent.filter((one) => {
      const row = found.get(one.position);
      return row !== undefined && isSame(row, one);
    });
    return this.#recent.at(-1);
  }

  /** `first`: of the rows from the last one on. It may have been pruned. */
  #hasGoneBack(first: ChangeRow | undefined): boolean {
    const last = this.#last;
    if (last === undefined) return false;
    if (first?.position === last.position) return !isSame(first, last);
    return last.at > this.#options.now() - COMPARED_MS;
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

  /** Who may connect may depend on it: it is neither passed over nor confirmed, and neither is what came later. */
  #stopAt({ position, kind, node }: ChangeRow): void {
    this.#outdated = new Problem('node_outdated', {
      reason: `expected change ${position} of ${node} of a known kind, found ${JSON.stringify(kind)}`,
      hint: 'upgrade this node to the release of the others',
    });
    this.#options.outdated?.(this.#outdated);
  }

  /** A node whose listener failed confirms nothing; `Listeners` has logged why. */
  async #tellAndConfirm({ position, kind, change }: ChangeRow): Promise<void> {
    const reports = await this.#tell(kind as ChangeKind, JSON.parse(change)).catch(() => undefined);
    if (reports !== undefined) this.#confirmations.confirm(position, reports);
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

function isSame(one: ChangeRow, other: ChangeRow): boolean {
  return one.at === other.at && one.node === other.node && one.kind === other.kind && one.change === other.change;
}

function isKnown(kind: string): kind is ChangeKind {
  return (CHANGE_KINDS as readonly string[]).includes(kind);
}

/** Whose sessions a change concerns: one of a device, or the holder of a certificate. */
function subjectOf({ kind, change }: PublishedChange): string | null {
  switch (kind) {
    case 'device change':
      return `device/${(change as { readonly device: string }).device}`;
    case 'revocation':
    case 'revocation of a certificate':
      return formatIdentity((change as { readonly holder: Identity }).holder);
    default:
      return null;
  }
}
