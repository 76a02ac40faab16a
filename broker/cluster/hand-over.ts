/** Gives the session of a client id to the node of its next connection, after its connection here has ended. */

import { isShared } from '@rollcall/protocol';
import { waitAtMost } from '../deadline.ts';
import type { Keeper } from '../keeper/open-keeper.ts';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import type { ClaimRequest } from './claim-requests.ts';
import type { ClusterClaims } from './cluster-claims.ts';
import type { ClusterRoutes } from './cluster-routes.ts';
import { MOVING_MS, type MovingSessions } from './moving-sessions.ts';

export interface HandOverParts {
  readonly live: LiveSessions;
  readonly claims: ClusterClaims;
  readonly keeper: Keeper;
  readonly routes: ClusterRoutes;
  readonly moving: MovingSessions;
  readonly publishShares: () => Promise<void>;
  readonly telemetrySettled: () => Promise<void>;
}

/** How long a session may take to process what it has received, in ms. */
const PROCESSING_MS = 1_000;

/** For so long other nodes send its messages here, in ms: until they know where the session is. */
const ROUTED_MS = MOVING_MS / 6;

export async function handOverSession(request: ClaimRequest, parts: HandOverParts): Promise<void> {
  const { live, claims, keeper, routes, moving, publishShares, telemetrySettled } = parts;
  const { clientId, node: to } = request;
  await claims.handOver(request, async () => {
    const session = live.find(clientId);
    const from = session?.isEnded === false ? session.connectionFacts : undefined;
    const sequence = session?.facts.sequence ?? 0;
    session?.end('session_taken_over');
    if (session !== undefined) await waitAtMost(PROCESSING_MS, session.whenFinished());
    // The client sends again what was not acknowledged, and its next node has to find what was stored of it.
    await telemetrySettled();
    await keeper.wills.forget(clientId);
    return () => {
      const isStored = live.find(clientId) !== undefined || hasRows(clientId, keeper);
      const filters = keeper.store
        .subscriptionsOf(clientId)
        .filter(({ filter, qos }) => qos > 0 && !isShared(filter))
        .map(({ filter }) => filter);
      // Messages come here until every node knows better, and are forwarded.
      for (const filter of filters) routes.add(filter);
      setTimeout(() => {
        for (const filter of filters) routes.remove(filter);
      }, ROUTED_MS).unref();
      moving.departed(clientId, to, filters);
      keeper.shares.removeClient(clientId);
      keeper.persistentSessions.forget(clientId);
      keeper.store.forget(clientId);
      const { address = '', serial = '' } = from ?? {};
      return { isStored, sequence, from: from && { address, serial } };
    };
  });
  await publishShares();
}

/** Undelivered messages belong to a session or a subscription. */
export function hasRows(
  clientId: string,
  { store, persistentSessions }: Pick<Keeper, 'store' | 'persistentSessions'>,
): boolean {
  return (
    persistentSessions.has(clientId) ||
    store.subscriptionsOf(clientId).length > 0 ||
    store.incomingCount(clientId) > 0 ||
    store.willOf(clientId) !== undefined
  );
}
