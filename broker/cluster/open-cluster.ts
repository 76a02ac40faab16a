/**
 * Opens the state of sessions of one node over PostgreSQL: its tables, the sessions that this node has, what it knows of other nodes, and the
 * parts that connect them.
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { Problem } from '@rollcall/protocol';
import type { Wakes } from '../../storage/index.ts';
import { migrate } from '../../storage/postgres/index.ts';
import { SESSION_STORE_LIMITS } from '../session-store/open-session-store.ts';
import { RowIds } from '../session-store/row-ids.ts';
import { SessionStore, type SessionStoreLimits } from '../session-store/session-store.ts';
import { ClusterNodes, type ClusterNodesOptions, MOST_NODES } from './cluster-nodes.ts';
import { takeMovedSessions } from './copied-sessions.ts';
import { Outbox } from './outbox.ts';
import { type ClusterCommits, createClusterCommits } from './session-changes.ts';
import { readRetainedRows, readRowsOf } from './session-rows.ts';
import { SESSION_TABLES } from './tables.ts';

/** The lease (`NodeLease`) of the node is held. */
export interface ClusterOptions extends ClusterNodesOptions {
  readonly wakes: Wakes;
  /** Resolves when what sessions of this node have sent is stored or refused: before another node gets one of them. */
  readonly telemetrySettled: () => Promise<void>;
  /** Another node sent something that this release does not know: this node has to end. Called once. */
  readonly onOutdated?: ((problem: Problem) => void) | undefined;
  /** Names of nodes whose release knows requests of others; all of them when it is left out. */
  readonly answering?: (() => Promise<ReadonlySet<string>>) | undefined;
  readonly limits?: Partial<SessionStoreLimits>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What `createClusterBroker` needs; opened before it and closed after it. */
export interface OpenCluster {
  readonly options: ClusterOptions;
  readonly store: SessionStore;
  readonly commits: ClusterCommits;
  readonly nodes: ClusterNodes;
  readonly outbox: Outbox;
  /** Client ids that this node had when it was opened. */
  readonly claimed: readonly string[];
  /** Reads which filters other nodes have. */
  readRoutes(): Promise<readonly { readonly node: string; readonly filter: string }[]>;
  close(): Promise<void>;
}

/** Sessions whose rows are read at once. */
export const ROWS_AT_ONCE = 1_000;

/** In this time every node has learned of this one, so that it tells it about its routes and retained messages. */
const KNOWN_AFTER_MS = 1_000;

/** Throws Problem `database_newer`, and what the database throws. */
export async function openCluster(options: ClusterOptions): Promise<OpenCluster> {
  const { database, wakes, node, now, log } = options;
  await migrate(database, SESSION_TABLES);
  const nodes = await ClusterNodes.join({ ...options, node });
  const commits = createClusterCommits({
    ...{ database, nodes, wakes, now, log },
    beforeCommit: () => store.pushDeferred(),
  });
  const idsOf = () => new RowIds(MOST_NODES, nodes.number);
  // What others retain, and route, after that they tell this node.
  await delay(KNOWN_AFTER_MS);
  const retained = await readRetainedRows(database);
  const none = { sessions: [], subscriptions: [], bodies: [], queued: [], incoming: [], wills: [] };
  const limits = { ...SESSION_STORE_LIMITS, ...options.limits };
  let number = -(2 ** 30);
  const numberOf = () => {
    number += 1;
    return number;
  };
  const store: SessionStore = new SessionStore(limits, commits, { ...none, retained }, now, numberOf, idsOf);
  const outbox = new Outbox({ database, nodes, commits, wakes });
  await takeMovedSessions(database, node);
  const { rows } = await database.query<{ client_id: string }>(
    'SELECT client_id FROM session_claims WHERE node = $1 ORDER BY client_id',
    [node],
  );
  await database.execute('DELETE FROM session_routes WHERE node = $1', [node]);
  return {
    ...{ options, store, commits, nodes, outbox },
    claimed: rows.map(({ client_id: clientId }) => clientId),
    async readRoutes() {
      const found = await database.query<{ node: string; filter: string }>(
        'SELECT node, filter FROM session_routes WHERE node <> $1',
        [node],
      );
      return found.rows;
    },
    async close() {
      outbox.close();
      await nodes.close();
      await commits.close();
    },
  };
}

export async function loadRows(
  { options: { database }, store }: OpenCluster,
  clientIds: readonly string[],
): Promise<ReturnType<SessionStore['adopt']>> {
  const loaded: ReturnType<SessionStore['adopt']>[number][] = [];
  for (let at = 0; at < clientIds.length; at += ROWS_AT_ONCE) {
    loaded.push(...store.adopt(await readRowsOf(database, clientIds.slice(at, at + ROWS_AT_ONCE))));
  }
  return loaded;
}
