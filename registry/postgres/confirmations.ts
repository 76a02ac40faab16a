/**
 * What each node did about the changes of all. A node confirms with a row what its listeners have done; the node that made a change waits
 * a limited time for those that are alive, and names the state of each other one. Rows are kept for an hour, for a later question.
 */

import type { Logger } from 'pino';
import type { Wakes } from '../../storage/index.ts';
import type { NodeLiveness, PostgresDatabase } from '../../storage/postgres/index.ts';
import type { ChangeOutcome } from '../database.ts';
import type { NodeOutcome } from '../node-outcome.ts';
import { SingleRun } from './single-run.ts';

/** A node beside this one, also one that is gone. Times are of the database's clock, ms. */
export interface OtherNode {
  readonly name: string;
  readonly startedAt: number;
  readonly liveness: NodeLiveness;
}

export interface ConfirmationsOptions {
  readonly database: PostgresDatabase;
  readonly wakes: Wakes;
  /** The name of this node. */
  readonly node: string;
  readonly others: () => Promise<readonly OtherNode[]>;
  /** How long a change waits for nodes that are alive, milliseconds. */
  readonly confirmWithin: number;
  /** Milliseconds since the epoch, by the database's clock as far as this node knows it. */
  readonly now: () => number;
  readonly log: Logger;
}

/** A change, and when it was made. */
export interface CommittedChange {
  readonly position: number;
  readonly at: number;
}

const CONFIRMATIONS = 'registry.confirmations';

const CONFIRM = {
  name: 'registry confirm changes',
  text: `INSERT INTO change_confirmations (position, node, report, at)
    SELECT position, $1, report, at FROM unnest($2::bigint[], $3::text[], $4::bigint[]) AS told (position, report, at)
    ON CONFLICT DO NOTHING`,
};
const CONFIRMED = {
  name: 'registry read confirmations',
  text: 'SELECT position, node, report, at FROM change_confirmations WHERE position = ANY ($1::bigint[])',
};

interface ConfirmationRow {
  readonly position: number;
  readonly node: string;
  readonly report: string;
  /** Null of a node of an earlier version. */
  readonly at: number | null;
}

interface Told {
  readonly position: number;
  readonly report: string;
  readonly at: number;
  readonly isOwn: boolean;
}

interface Waiting {
  /** Nodes that have not confirmed yet. */
  readonly missing: Set<string>;
  readonly confirmed: Map<string, ConfirmationRow>;
  readonly resolve: () => void;
  readonly timer: NodeJS.Timeout;
}

export class Confirmations {
  readonly #options: ConfirmationsOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #told: Told[] = [];
  readonly #confirming: SingleRun;
  readonly #collecting: SingleRun;
  #unsubscribe: () => void = () => {};
  #known: readonly OtherNode[] = [];
  #listing: Promise<readonly OtherNode[]> | undefined;
  #nextListing: Promise<readonly OtherNode[]> | undefined;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
    this.#confirming = new SingleRun(() => this.#confirm(), options.log);
    this.#collecting = new SingleRun(() => this.#collect(), options.log);
  }

  /** Throws what the database throws. */
  async start(): Promise<void> {
    this.#known = await this.#options.others();
    this.#unsubscribe = this.#options.wakes.onWake(CONFIRMATIONS, () => void this.#collecting.request());
  }

  close(): void {
    this.#unsubscribe();
    for (const { timer, resolve } of this.#waiting.values()) {
      clearTimeout(timer);
      resolve();
    }
    this.#waiting.clear();
  }

  /** The listeners of this node have heard of a change. The row is written a little later. */
  confirm(position: number, report: readonly unknown[], isOwn = false): NodeOutcome {
    const { node, now } = this.#options;
    const at = now();
    this.#told.push({ position, report: JSON.stringify(report), at, isOwn });
    void this.#confirming.request();
    return { name: node, state: 'confirmed', confirmedAt: at };
  }

  /** What the others have done about a change of this node: waits for those that are alive. */
  async outcomeOf({ position, at }: CommittedChange): Promise<ChangeOutcome> {
    const others = await this.#list();
    const asked = others.filter((node) => outcomeOf(node, at)?.state === 'late').map(({ name }) => name);
    const confirmed = await this.#wait(position, asked);
    // One that did not confirm may be deaf by now.
    const isEachConfirmed = asked.every((name) => confirmed.has(name));
    const later = isEachConfirmed ? others : await this.#list();
    const names = new Set(others.map(({ name }) => name));
    return {
      reports: [...confirmed.values()].flatMap(({ report }) => JSON.parse(report) as readonly unknown[]),
      nodes: outcomesOf(
        later.filter(({ name }) => names.has(name)),
        at,
        confirmed,
      ),
    };
  }

  /** What is known now of a change of any node. */
  async knownOf({ position, at }: CommittedChange): Promise<readonly NodeOutcome[]> {
    const { database, node } = this.#options;
    const [{ rows }, others] = await Promise.all([
      database.query<ConfirmationRow>(CONFIRMED, [[position]]),
      this.#list(),
    ]);
    const self: OtherNode = { name: node, startedAt: Number.NEGATIVE_INFINITY, liveness: { state: 'alive' } };
    return outcomesOf([self, ...others], at, new Map(rows.map((row) => [row.node, row])));
  }

  async #wait(position: number, asked: readonly string[]): Promise<ReadonlyMap<string, ConfirmationRow>> {
    const confirmed = new Map<string, ConfirmationRow>();
    if (asked.length === 0) return confirmed;
    const { confirmWithin, log } = this.#options;
    const missing = new Set(asked);
    const waiting = new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(position);
        log.warn({ position, nodes: [...missing] }, 'nodes did not confirm a change in time');
        resolve();
      }, confirmWithin);
      this.#waiting.set(position, { missing, confirmed, resolve, timer });
    });
    void this.#collecting.request();
    await waiting;
    return confirmed;
  }

  async #confirm(): Promise<void> {
    const { database, node, wakes } = this.#options;
    const told = this.#told.splice(0);
    if (told.length === 0) return;
    const columns = [told.map(({ position }) => position), told.map(({ report }) => report), told.map(({ at }) => at)];
    try {
      // One that is lost with the server is missed by nobody but its reader, who then counts one node less.
      await database.transaction((transaction) => transaction.query(CONFIRM, [node, ...columns]), { mayBeLost: true });
    } catch (error) {
      this.#told.unshift(...told);
      throw error;
    }
    if (told.some(({ isOwn }) => !isOwn)) wakes.wake(CONFIRMATIONS);
  }

  async #collect(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const { rows } = await this.#options.database.query<ConfirmationRow>(CONFIRMED, [[...this.#waiting.keys()]]);
    for (const row of rows) {
      const waiting = this.#waiting.get(row.position);
      if (waiting === undefined || !waiting.missing.delete(row.node)) continue;
      waiting.confirmed.set(row.node, row);
      if (waiting.missing.size > 0) continue;
      clearTimeout(waiting.timer);
      this.#waiting.delete(row.position);
      waiting.resolve();
    }
  }

  /** As the others are after this call. Calls that come while one is on its way share the next one. */
  #list(): Promise<readonly OtherNode[]> {
    if (this.#listing === undefined) return this.#startListing();
    this.#nextListing ??= this.#listing.then(() => {
      this.#nextListing = undefined;
      return this.#startListing();
    });
    return this.#nextListing;
  }

  #startListing(): Promise<readonly OtherNode[]> {
    this.#listing = this.#options
      .others()
      .catch((error: unknown) => {
        // The change is committed, whether or not anyone can be asked: those that were known last count as not confirmed.
        this.#options.log.warn({ err: error }, 'the other nodes are not known');
        return this.#known;
      })
      .then((found) => {
        this.#known = found;
        this.#listing = undefined;
        return found;
      });
    return this.#listing;
  }
}

function outcomesOf(
  nodes: readonly OtherNode[],
  at: number,
  confirmed: ReadonlyMap<string, ConfirmationRow>,
): readonly NodeOutcome[] {
  return nodes.flatMap((node): NodeOutcome | readonly NodeOutcome[] => {
    const { name } = node;
    const row = confirmed.get(name);
    if (row === undefined) return outcomeOf(node, at) ?? [];
    return { name, state: 'confirmed', ...(row.at !== null && { confirmedAt: row.at }) };
  });
}

/** Of a node that has not confirmed. Undefined: it had no connections any more when the change was made. */
function outcomeOf({ name, startedAt, liveness }: OtherNode, at: number): NodeOutcome | undefined {
  if (startedAt > at) return { name, state: 'closed', closedBy: startedAt };
  switch (liveness.state) {
    case 'alive':
      return { name, state: 'late' };
    case 'deaf':
      return { name, state: 'deaf', deafSince: liveness.since, closedBy: liveness.closedBy };
    case 'gone':
      return liveness.since <= at ? undefined : { name, state: 'closed', closedBy: liveness.since };
  }
}
