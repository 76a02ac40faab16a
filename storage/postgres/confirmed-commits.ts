/**
 * Whether a server has what was confirmed to this process. Each commit is marked by its transaction and by a place in the server's log that is
 * before its end, in the same round trip. A standby that became the primary says how far it has read the log of the one before: what is
 * marked behind that is lost. What is marked before it has written there, so no other transaction has its number, and the server knows
 * whether it was committed. A server that was restarted since it became the primary may not know any more: then nothing is said.
 */

import type { PostgresConnection } from './connection.ts';

/** A server and its log, as found when a connection was opened. */
export interface ServerLog {
  /** The same for a primary and its standbys. */
  readonly system: string;
  /** Grows by one when a standby becomes the primary. */
  readonly timeline: number;
  /** Bytes. */
  readonly end: number;
  /** Up to where it was read before this server became the primary. Null: it did not, or does not know it any more. */
  readonly replayed: number | null;
}

export interface CommitMark extends Pick<ServerLog, 'system' | 'timeline'> {
  /** The commit is behind it. */
  readonly place: number;
  readonly transaction: string;
}

/** What a statement returns beside its own columns, or a transaction before it commits; null for one that has written nothing. */
export interface MarkRow {
  readonly mark_place: number | null;
  readonly mark_transaction: string | null;
}

const PLACE = `(pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`;

/** Columns of `MarkRow`. */
export const MARK_COLUMNS = `${PLACE} AS mark_place, pg_current_xact_id_if_assigned()::text AS mark_transaction`;

/** Of a server that accepts writes. */
export const SERVER_LOG = `SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
  ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
  ${PLACE} AS "end", (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint AS replayed`;

const OUTCOMES = `SELECT number, CASE WHEN number::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) THEN 'unknown'
    ELSE pg_xact_status(number::xid8) END AS outcome FROM unnest($1::text[]) AS number`;

interface ConfirmedCommit {
  readonly mark: CommitMark;
  readonly at: number;
}

/** Of one process. Holds as many as can be under way at once: one that was sent later says of those before it that they are before its mark. */
export class ConfirmedCommits {
  #newest: ConfirmedCommit[] = [];
  #sentAt = Number.NEGATIVE_INFINITY;

  get marks(): readonly CommitMark[] {
    return this.#newest.map(({ mark }) => mark);
  }

  /** Times of `performance.now`. */
  add(mark: CommitMark, sentAt: number, confirmedAt: number): void {
    this.#sentAt = Math.max(this.#sentAt, sentAt);
    this.#newest = this.#newest.filter((one) => one.mark.timeline !== mark.timeline || one.at > this.#sentAt);
    this.#newest.push({ mark, at: confirmedAt });
  }

  /** As a sentence; undefined when nothing is known to be missing. Throws what `pg` throws. */
  async missingIn(connection: PostgresConnection): Promise<string | undefined> {
    const before = this.#newest;
    const missing = await missingIn(connection, this.marks);
    // What the primary has of the one before, all that follow it have.
    const isChecked = (one: ConfirmedCommit) =>
      before.includes(one) && one.mark.timeline < (connection.log?.timeline ?? Number.NEGATIVE_INFINITY);
    if (missing === undefined) this.#newest = this.#newest.filter((one) => !isChecked(one));
    return missing;
  }
}

/** Of these marks, as `missingIn` of `ConfirmedCommits`. */
export async function missingIn(
  connection: PostgresConnection,
  marks: readonly CommitMark[],
): Promise<string | undefined> {
  if (connection.log === undefined || marks.length === 0) return undefined;
  // Read now: it may have grown beyond what was found when the connection was opened.
  const log = (await connection.query<ServerLog>(SERVER_LOG)).rows[0] as ServerLog;
  const ofLog = marks.filter(({ system }) => system === log.system);
  const behind = ofLog.find((mark) => isBehind(mark, log));
  if (behind !== undefined) return sentenceOf(behind, log);
  const before = ofLog.filter(({ timeline }) => timeline < log.timeline);
  if (before.length === 0) return undefined;
  const numbers = before.map(({ transaction }) => transaction);
  const { rows } = await connection.query<{ number: string; outcome: string | null }>(OUTCOMES, [numbers]);
  // One that is so old that its outcome was removed is null.
  const lost = rows.find(({ outcome }) => outcome !== null && outcome !== 'committed');
  const mark = before.find(({ transaction }) => transaction === lost?.number);
  return mark && sentenceOf(mark, log);
}

function isBehind({ timeline, place }: CommitMark, log: ServerLog): boolean {
  if (log.timeline < timeline) return true;
  return place > (log.timeline === timeline ? log.end : (log.replayed ?? Number.POSITIVE_INFINITY));
}

function sentenceOf({ timeline, place, transaction }: CommitMark, log: ServerLog): string {
  const end = log.timeline > timeline && log.replayed !== null ? `read up to byte ${log.replayed}` : `byte ${log.end}`;
  return (
    `expected transaction ${transaction} after byte ${place} of timeline ${timeline} of the log, as it was confirmed, ` +
    `found timeline ${log.timeline}, ${end}, without it`
  );
}
