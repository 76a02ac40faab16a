/** The changes of the sessions of this node, written in group commits that another node can fence off. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { GroupCommit, Wakes } from '../../storage/index.ts';
import type { PostgresDatabase, PreparedStatement } from '../../storage/postgres/index.ts';
import { createSessionCommits, SESSION_COMMIT_LIMITS } from '../session-store/session-commits.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { type ClusterChange, STATEMENTS } from './tables.ts';

export type ClusterCommits = GroupCommit<ClusterChange>;

export interface ClusterCommitOptions {
  readonly database: PostgresDatabase;
  readonly nodes: ClusterNodes;
  readonly wakes: Wakes;
  readonly now: () => number;
  readonly log: Logger;
  beforeCommit(): void;
}

/** The channel that wakes a node for its messages. */
export function inboxOf(node: string, nodes: ClusterNodes): string | undefined {
  const number = nodes.find(node)?.number;
  return number === undefined ? undefined : `inbox.${number}`;
}

/** The channel that wakes a node when others have applied what it sent. */
export function appliedOf(node: string, nodes: ClusterNodes): string | undefined {
  const number = nodes.find(node)?.number;
  return number === undefined ? undefined : `applied.${number}`;
}

export function createClusterCommits({ database, nodes, wakes, ...options }: ClusterCommitOptions): ClusterCommits {
  const marks = new WeakMap<readonly ClusterChange[], number>();
  let lastMark = nodes.epoch * PER_EPOCH;
  /** Of a batch that gives sessions to other nodes: written again, it would change what is theirs. */
  const markOf = (changes: readonly ClusterChange[]) => {
    const known = marks.get(changes);
    if (known !== undefined || !changes.some(({ name }) => name === 'moveClaim')) return known;
    lastMark += 1;
    marks.set(changes, lastMark);
    return lastMark;
  };
  return createSessionCommits<ClusterChange>({
    ...options,
    limits: SESSION_COMMIT_LIMITS,
    async write(changes) {
      const mayBeStored = marks.has(changes);
      const mark = markOf(changes);
      const writing = database.transaction(async (transaction) => {
        // Sent together; the transaction waits for all of them.
        const fenced = nodes.fence(transaction);
        const marked = mark && transaction.query(MARK, [nodes.name, mark]);
        if (mayBeStored && marked) {
          await fenced;
          // An earlier attempt, whose outcome was not known, has stored it: maybe on no standby. The commit of this one waits for them.
          if ((await marked).count === 0) return void (await transaction.query(CONFIRM, [nodes.name]));
        }
        for (const { statement, values } of statementsOf(changes)) {
          void transaction.query(statement, values).catch(ignore);
        }
        await fenced;
      });
      await writing.catch((error: unknown) => {
        throw heldProblem(error);
      });
      wakeReaders(changes, nodes, wakes);
    },
  });
}

/** Until they pass, changes are held: one that is left out would be there again after the next start. */
const MAY_PASS: ReadonlySet<string> = new Set([
  ...['outcome_unknown', 'database_access_refused', 'database_untrusted'],
  ...['database_settings_refused', 'database_server_unsupported'],
]);

function heldProblem(error: unknown): unknown {
  if (!(error instanceof Problem && MAY_PASS.has(error.code))) return error;
  return new Problem('unavailable', { reason: error.reason ?? error.message, cause: error });
}

/** Waits for an earlier attempt that the database still works on. No node has a name with a slash. */
const MARK = {
  name: 'sessions mark batch',
  text: `INSERT INTO node_cursors (to_node, from_node, number) VALUES ($1, '/batches', $2)
    ON CONFLICT (to_node, from_node) DO UPDATE SET number = EXCLUDED.number WHERE node_cursors.number < EXCLUDED.number`,
};

/** Changes nothing, and is a write: its commit is behind that of the batch, so what has it has the batch. */
const CONFIRM = {
  name: 'sessions confirm batch',
  text: `UPDATE node_cursors SET number = number WHERE to_node = $1 AND from_node = '/batches'`,
};

/** Numbers of one process: its epoch comes first, so that they grow from process to process. */
const PER_EPOCH = 2 ** 36;

const DROP_CLAIMS = {
  name: 'sessions drop claims',
  text: 'DELETE FROM session_claims WHERE client_id = ANY($1::text[]) AND node = $2',
};

interface SentStatement {
  readonly statement: PreparedStatement;
  readonly values: readonly unknown[];
}

/** Claims of sessions that end one after the other are one statement. */
function* statementsOf(changes: readonly ClusterChange[]): Iterable<SentStatement> {
  let dropped: string[] = [];
  let node: unknown;
  const drops = function* (): Iterable<SentStatement> {
    if (dropped.length > 0) yield { statement: DROP_CLAIMS, values: [dropped, node] };
    dropped = [];
  };
  for (const { name, values } of changes) {
    if (name === 'dropClaim') {
      dropped.push(String(values[0]));
      node = values[1];
      continue;
    }
    yield* drops();
    yield { statement: STATEMENTS[name], values: values.map(toColumn) };
  }
  yield* drops();
}

/** As `pg` takes it. */
export function toColumn(value: ClusterChange['values'][number]): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}

function wakeReaders(changes: readonly ClusterChange[], nodes: ClusterNodes, wakes: Wakes): void {
  const channels = new Set<string | undefined>();
  for (const { name, values } of changes) {
    if (name === 'putNodeMessage') channels.add(inboxOf(String(values[0]), nodes));
    else if (name === 'putCursor') channels.add(appliedOf(String(values[1]), nodes));
  }
  for (const channel of channels) if (channel !== undefined) wakes.wake(channel);
}

function ignore(): void {}
