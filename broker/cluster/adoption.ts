/** Takes over the sessions of nodes that are dead, with the messages that were sent to them. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ClusterClaims } from './cluster-claims.ts';
import type { KnownNode } from './cluster-nodes.ts';
import type { ClusterRoutes } from './cluster-routes.ts';
import type { Inbox } from './inbox.ts';
import { type OpenCluster, ROWS_AT_ONCE } from './open-cluster.ts';

export interface AdoptionParts {
  readonly cluster: OpenCluster;
  readonly inbox: Inbox;
  readonly claims: ClusterClaims;
  /** Reads the rows of sessions. What it resolves with makes them sessions. */
  readonly read: (clientIds: readonly string[]) => Promise<() => Promise<void>>;
  readonly routes: ClusterRoutes;
  readonly log: Logger;
}

export interface Adoption {
  /** Resolves when what a dead node had is this node's, or another's. */
  (dead: KnownNode): Promise<void>;
  /** Every dead node that has anything left. */
  all(): void;
  /** Resolves when no node is being taken over. */
  settled(): Promise<void>;
}

const TAKE = `UPDATE session_claims SET node = $1, epoch = epoch + 1
  WHERE client_id IN (SELECT client_id FROM session_claims WHERE node = $2 LIMIT ${ROWS_AT_ONCE}) AND node = $2
  RETURNING client_id`;
const LEFT = `SELECT EXISTS (SELECT 1 FROM session_claims WHERE node = $1)
  OR EXISTS (SELECT 1 FROM node_messages WHERE to_node = $1) AS has_left`;

/** Before a connection looks again whose its session is, in ms. */
const OTHER_ADOPTS_MS = 50;

export function adoptDead({ cluster, inbox, claims, read, routes, log }: AdoptionParts): Adoption {
  const { nodes, outbox } = cluster;
  const { database } = cluster.options;
  const running = new Map<string, Promise<void>>();
  /** Nodes that this one has fenced off: since which epoch, and which node had begun to adopt it before. */
  const adopted = new Map<string, { readonly epoch: number; readonly former: string | undefined }>();
  const waitsFor = new Map<string, string>();

  /** Undefined: another node adopts it, or it is there again. Otherwise as it is since it is fenced off. */
  const fenceOff = async (dead: KnownNode): Promise<KnownNode | undefined> => {
    if (adopted.get(dead.name)?.epoch === dead.epoch) return dead;
    const result = await nodes.fenceOff(dead);
    if (result === undefined) {
      await delay(OTHER_ADOPTS_MS, undefined, { ref: false });
      return undefined;
    }
    const fenced = { ...dead, epoch: dead.epoch + 1 };
    adopted.set(dead.name, { epoch: fenced.epoch, former: result.formerAdopter });
    log.warn({ node: dead.name }, 'the sessions of a node that is dead are taken over');
    await nodes.look();
    return fenced;
  };

  /** Messages for what a node had adopted that is dead by now are found only after that is here. */
  const adoptFormer = async (dead: string): Promise<void> => {
    const formerName = adopted.get(dead)?.former;
    const former = nodes.others().find(({ name, isAlive }) => name === formerName && !isAlive);
    if (former === undefined) return;
    // Of two nodes, each may have adopted the other once.
    for (let next: string | undefined = former.name; next !== undefined; next = waitsFor.get(next)) {
      if (next === dead) return;
    }
    waitsFor.set(dead, former.name);
    await one(former).finally(() => waitsFor.delete(dead));
  };

  /** Undefined: the node has started again, and what it has is its own. */
  const whileDead = <Row>(fenced: KnownNode, sql: string, values: readonly unknown[]) =>
    database.transaction(async (transaction) =>
      (await nodes.isAt(transaction, fenced)) ? (await transaction.query<Row>(sql, values)).rows : undefined,
    );

  const adopt = async (dead: KnownNode): Promise<void> => {
    const fenced = await fenceOff(dead);
    if (fenced === undefined) return;
    await adoptFormer(dead.name);
    for (;;) {
      const rows = await whileDead<{ client_id: string }>(fenced, TAKE, [nodes.name, dead.name]);
      if (rows === undefined) return;
      if (rows.length === 0) break;
      const clientIds = rows.map(({ client_id: clientId }) => clientId);
      const take = await read(clientIds).catch((error: unknown) => {
        claims.takeLater(clientIds); // No other node adopts them any more.
        throw error;
      });
      await take().finally(() => claims.owned(clientIds));
    }
    await inbox.adopt(dead.name);
    const rows = await whileDead(fenced, 'DELETE FROM session_routes WHERE node = $1', [dead.name]);
    if (rows === undefined) return;
    await routes.published();
    const alive = nodes.others().filter(({ isAlive }) => isAlive);
    outbox.send(
      alive.map(({ name }) => name),
      { kind: 'node gone', node: dead.name },
    );
    routes.forget(dead.name);
  };

  const one = (dead: KnownNode): Promise<void> => {
    let adopting = running.get(dead.name);
    if (adopting === undefined) {
      adopting = adopt(dead).finally(() => running.delete(dead.name));
      running.set(dead.name, adopting);
    }
    return adopting;
  };
  const all = async () => {
    for (const node of nodes.others()) {
      if (node.isAlive || running.has(node.name)) continue;
      const { rows } = await database.query<{ has_left: boolean }>(LEFT, [node.name]);
      if (rows[0]?.has_left === true) await one(node);
    }
  };
  let isLooking = false;
  return Object.assign(one, {
    settled: async () => void (await Promise.allSettled(running.values())),
    all() {
      if (isLooking) return;
      isLooking = true;
      all()
        .catch((error: unknown) => log.warn({ err: error }, 'the sessions of a dead node could not be taken over'))
        .finally(() => {
          isLooking = false;
        });
    },
  });
}
