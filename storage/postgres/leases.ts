/**
 * The table of leases: who holds a name, since which epoch, and when it was renewed by the database's clock. A lease is free when it was
 * released, or when it was not renewed for its duration: by the database's clock, and as this node has seen it by its own clock. So
 * no lease changes hands because a failover took long or led to a server with another clock.
 */

import { randomUUID } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { MARK_COLUMNS } from './confirmed-commits.ts';
import type { PostgresDatabase, PostgresTransaction } from './database.ts';
import { DATABASE_NOW } from './database-clock.ts';
import type { TableSet } from './migrations.ts';

export const LEASE_TABLES: TableSet = {
  name: 'leases',
  migrations: [
    {
      sql: `CREATE TABLE leases (
        name       TEXT COLLATE "C" PRIMARY KEY,
        node       TEXT COLLATE "C",
        holder     TEXT COLLATE "C" NOT NULL,
        epoch      BIGINT NOT NULL,
        duration   BIGINT NOT NULL,
        renewed_at BIGINT NOT NULL
      )`,
      oldest: 1,
    },
    { sql: 'ALTER TABLE leases ADD COLUMN renewals BIGINT NOT NULL DEFAULT 0', oldest: 1 },
  ],
};

/** A row, and the database's clock when it was read. */
export interface LeaseRecord {
  readonly name: string;
  /** Undefined once it was released. */
  readonly node: string | undefined;
  /** The process, of which a node has another one after each start. */
  readonly holder: string;
  /** Grows by one with each holder. */
  readonly epoch: number;
  /** Milliseconds without a renewal after which others may take it. */
  readonly duration: number;
  /** By the database's clock, ms since the epoch. */
  readonly renewedAt: number;
  /** How often it was taken or renewed, over all holders. */
  readonly renewals: number;
  /** The same clock, when this was read. */
  readonly readAt: number;
}

/** What a holder knows of its own lease. */
export interface HeldLease {
  readonly name: string;
  readonly epoch: number;
}

export interface TakenLease extends HeldLease {
  /** As in `LeaseRecord`. */
  readonly renewals: number;
}

const READ = {
  name: 'read leases',
  text: `SELECT name, node, holder, epoch, duration, renewed_at, renewals, ${DATABASE_NOW} AS read_at FROM leases WHERE name = ANY($1) ORDER BY name`,
};
const LIST = {
  name: 'list leases',
  text: `SELECT name, node, holder, epoch, duration, renewed_at, renewals, ${DATABASE_NOW} AS read_at FROM leases WHERE starts_with(name, $1) ORDER BY name`,
};
const CREATE = {
  name: 'create lease',
  text: `INSERT INTO leases (name, node, holder, epoch, duration, renewed_at) VALUES ($1, $2, $3, 1, $4, ${DATABASE_NOW})
    ON CONFLICT (name) DO NOTHING RETURNING epoch, renewals`,
};
const TAKE = {
  name: 'take lease',
  text: `UPDATE leases SET node = $2, holder = $3, epoch = epoch + 1, duration = $4, renewed_at = ${DATABASE_NOW}, renewals = renewals + 1
    WHERE name = $1 AND epoch = $5 AND renewed_at = $6 RETURNING epoch, renewals`,
};
const RENEWED = `UPDATE leases SET renewed_at = ${DATABASE_NOW}, renewals = leases.renewals + 1
    FROM unnest($2::text[], $3::bigint[]) AS held (name, epoch)
    WHERE leases.name = held.name AND leases.epoch = held.epoch AND leases.holder = $1 RETURNING leases.name, leases.renewals`;
const RENEW = { name: 'renew leases', text: RENEWED, marked: `${RENEWED}, ${MARK_COLUMNS}` };
const RELEASE = {
  name: 'release leases',
  text: `UPDATE leases SET node = NULL FROM unnest($2::text[], $3::bigint[]) AS held (name, epoch)
    WHERE leases.name = held.name AND leases.epoch = held.epoch AND leases.holder = $1`,
};
const FENCE = {
  name: 'fence lease',
  text: 'SELECT 1 FROM leases WHERE name = $1 AND holder = $2 AND epoch = $3 FOR SHARE',
};

const LOCK = {
  name: 'lock lease',
  text: 'SELECT 1 FROM leases WHERE name = $1 AND holder = $2 AND epoch = $3 AND renewed_at = $4 FOR UPDATE',
};

interface LeaseRow {
  readonly name: string;
  readonly node: string | null;
  readonly holder: string;
  readonly epoch: number;
  readonly duration: number;
  readonly renewed_at: number;
  readonly renewals: number;
  readonly read_at: number;
}

export interface LeaseTableOptions {
  readonly database: PostgresDatabase;
  /** The name of this node. */
  readonly node: string;
  /** Of this node, as `Heartbeat` has it. */
  readonly now: () => number;
  /**
   * When the last commit of this process was sent that was confirmed, by the same clock. While nothing can be committed nobody can renew,
   * so only time before it counts as silence of a holder. Without it the reads of this process count alone.
   */
  readonly committedAt?: (() => number) | undefined;
}

/** The leases as one process sees and holds them. Throws what the database throws. */
export class LeaseTable {
  readonly node: string;
  /** Of this process alone. */
  readonly holder = randomUUID();
  readonly #database: PostgresDatabase;
  readonly #now: () => number;
  readonly #committedAt: () => number;
  /**
   * When each state of a lease was seen first and last, without a gap in which its holder may have been unable to renew it, and up to when
   * it could have renewed it.
   */
  readonly #seen = new Map<string, { state: string; first: number; last: number; provenUntil: number }>();

  constructor({ database, node, now, committedAt = now }: LeaseTableOptions) {
    this.node = node;
    this.#database = database;
    this.#now = now;
    this.#committedAt = committedAt;
  }

  async read(names: readonly string[]): Promise<readonly LeaseRecord[]> {
    return this.#records((await this.#database.query<LeaseRow>(READ, [names])).rows);
  }

  /** Those whose name begins with `prefix`. */
  async list(prefix: string): Promise<readonly LeaseRecord[]> {
    return this.#records((await this.#database.query<LeaseRow>(LIST, [prefix])).rows);
  }

  /**
   * How long the holder was silent at the least, ms: by both clocks. Counts over reads of this process that are at most half of the
   * duration apart, and while commits of this process are confirmed: else nobody could renew.
   */
  silenceOf({ name, renewedAt, readAt }: LeaseRecord): number {
    const seen = this.#seen.get(name);
    return seen === undefined ? 0 : Math.min(readAt - renewedAt, seen.provenUntil - seen.first);
  }

  isFree(record: LeaseRecord): boolean {
    // What this process took without being told of it: the connection was lost.
    const isOwn = record.holder === this.holder;
    return record.node === undefined || isOwn || this.silenceOf(record) >= record.duration;
  }

  /**
   * Takes a lease that is free, or that has no record yet. Undefined when another process was faster, or the holder has renewed it
   * meanwhile.
   */
  async take(name: string, duration: number, record: LeaseRecord | undefined): Promise<TakenLease | undefined> {
    const values = [name, this.node, this.holder, duration];
    const { rows } =
      record === undefined
        ? await this.#database.execute<Omit<TakenLease, 'name'>>(CREATE, values)
        : await this.#database.execute<Omit<TakenLease, 'name'>>(TAKE, [...values, record.epoch, record.renewedAt]);
    return rows[0] && { name, ...rows[0] };
  }

  /** Returns the names that this process still holds, and how often each was renewed. */
  async renew(leases: readonly HeldLease[]): Promise<ReadonlyMap<string, number>> {
    const { rows } = await this.#database.execute<{ name: string; renewals: number }>(RENEW, this.#held(leases));
    return new Map(rows.map(({ name, renewals }) => [name, renewals]));
  }

  async release(leases: readonly HeldLease[]): Promise<void> {
    await this.#database.execute(RELEASE, this.#held(leases));
  }

  /** Within a transaction: its holder cannot renew it until the end of it. False: it was renewed or taken since it was read. */
  async lock(transaction: PostgresTransaction, { name, holder, epoch, renewedAt }: LeaseRecord): Promise<boolean> {
    const { count } = await transaction.query(LOCK, [name, holder, epoch, renewedAt]);
    return count > 0;
  }

  /**
   * Within a transaction: it commits only while this process holds the lease, because no other can take it until then. Throws Problem
   * `unavailable` when it is lost.
   */
  async fence(transaction: PostgresTransaction, { name, epoch }: HeldLease): Promise<void> {
    const { count } = await transaction.query(FENCE, [name, this.holder, epoch]);
    if (count === 0) throw new Problem('unavailable', { reason: `expected to hold the lease ${name}, found it lost` });
  }

  #held(leases: readonly HeldLease[]): readonly unknown[] {
    return [this.holder, leases.map(({ name }) => name), leases.map(({ epoch }) => epoch)];
  }

  #records(rows: readonly LeaseRow[]): readonly LeaseRecord[] {
    const now = this.#now();
    const committedAt = Math.min(now, this.#committedAt());
    return rows.map(({ name, node, holder, epoch, duration, renewed_at, renewals, read_at }) => {
      const state = `${epoch} ${renewed_at}`;
      const seen = this.#seen.get(name);
      const couldBeRenewed = now - committedAt <= duration;
      const isSilent = seen?.state === state && now - seen.last <= duration / 2 && couldBeRenewed;
      this.#seen.set(name, { state, first: isSilent ? seen.first : now, last: now, provenUntil: committedAt });
      return {
        name,
        node: node ?? undefined,
        holder,
        epoch,
        duration,
        renewedAt: renewed_at,
        renewals,
        readAt: read_at,
      };
    });
  }
}
