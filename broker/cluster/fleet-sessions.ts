/**
 * Live sessions of all nodes, in the order of their client ids: each node answers with its page after the same client id, and the pages are
 * merged. So a page needs no more memory and messages than it has sessions, whichever nodes they are on.
 */

import { mergePages, type NodeSessions, type SessionPage, type SessionQuery } from '../sessions/session-page.ts';
import type { NodeRequests } from './node-requests.ts';

export interface FleetSessionsParts {
  readonly own: (query: SessionQuery) => NodeSessions;
  /** Names of other nodes that are asked. */
  readonly others: readonly string[];
  readonly requests: Pick<NodeRequests, 'ask'>;
}

/** Sessions in one response of a node: up to 100 KB. */
const PIECE = 250;
/** A page that takes longer is sent with fewer sessions, in ms. */
const PAGE_MS = 5_000;

export async function readFleetSessions(
  query: SessionQuery,
  { own, others, requests }: FleetSessionsParts,
): Promise<SessionPage> {
  const asked = new Set(others);
  const sessions: SessionPage['sessions'][number][] = [];
  const until = performance.now() + PAGE_MS;
  for (;;) {
    const after = sessions.at(-1)?.clientId ?? query.after;
    const piece = { ...query, after, limit: Math.min(PIECE, query.limit - sessions.length) };
    const answers = await requests.ask([...asked], 'sessions', piece);
    // A node that did not answer is not asked again for this page.
    for (const node of asked) if (!answers.has(node)) asked.delete(node);
    const merged = mergePages([own(piece), ...answers.values()], piece.limit);
    sessions.push(...merged.sessions);
    const { hasMore } = merged;
    if (!hasMore || sessions.length >= query.limit || performance.now() > until) {
      return { sessions, hasMore, unanswered: others.filter((node) => !asked.has(node)) };
    }
  }
}
