/** Pages of live sessions in the order of their client ids. One costs a pass over all sessions, and memory for a page. */

import type { Identity } from '@rollcall/protocol';
import type { LiveSession } from './live-sessions.ts';

export interface SessionQuery {
  /** The page of client ids greater than this one. Empty: the first page. */
  readonly after: string;
  readonly limit: number;
  /** Sessions of this identity alone. */
  readonly identity?: Identity | undefined;
  /** Sessions that are connected to this node alone. */
  readonly node?: string | undefined;
}

/** A live session, with the node that has its connection. */
export interface FleetSession extends LiveSession {
  readonly node: string;
}

/** The page of one node. */
export interface NodeSessions {
  readonly sessions: readonly FleetSession[];
  /** There are sessions after the last one. */
  readonly hasMore: boolean;
}

export interface SessionPage extends NodeSessions {
  /** Nodes that did not answer in time: their sessions are missing. */
  readonly unanswered: readonly string[];
}

/** The node of a server that serves its data directory alone. It is not the host's name, which can change between two starts. */
export const MAIN_NODE = 'main';

type Range = Pick<SessionQuery, 'after' | 'limit'>;

/** The first items after a client id, in order. Client ids differ; an item without one is on no page. */
export function firstAfter<Item>(
  all: Iterable<Item>,
  clientIdOf: (item: Item) => string | undefined,
  { after, limit }: Range,
): { readonly items: readonly Item[]; readonly hasMore: boolean } {
  const most = limit + 1; // One more says that there are others.
  const found: { readonly clientId: string; readonly item: Item }[] = [];
  /** A client id that is not on the page, nor are those after it. */
  let end: string | undefined;
  for (const item of all) {
    const clientId = clientIdOf(item);
    if (clientId === undefined || clientId <= after || (end !== undefined && clientId > end)) continue;
    found.push({ clientId, item });
    if (found.length < 2 * most) continue;
    found.sort(byClientId);
    found.length = most;
    end = found[limit]?.clientId;
  }
  found.sort(byClientId);
  return { items: found.slice(0, limit).map(({ item }) => item), hasMore: found.length > limit };
}

function byClientId(one: { readonly clientId: string }, other: { readonly clientId: string }): number {
  return one.clientId < other.clientId ? -1 : 1;
}

/** Joins pages of several nodes. A client id that two of them have, because it moves, is on the page once: with its later connection. */
export function mergePages(pages: readonly NodeSessions[], limit: number): NodeSessions {
  // What a node has after its page is not known: the merged page ends where the first of those pages does.
  const ends = pages.flatMap(({ sessions, hasMore }) => (hasMore ? (sessions.at(-1)?.clientId ?? []) : []));
  const end = ends.length === 0 ? undefined : ends.reduce((least, one) => (one < least ? one : least));
  const found = new Map<string, FleetSession>();
  let isCut = ends.length > 0;
  for (const session of pages.flatMap(({ sessions }) => sessions)) {
    const { clientId, connectedAt } = session;
    if (end !== undefined && clientId > end) {
      isCut = true;
      continue;
    }
    const known = found.get(clientId);
    if (known === undefined || known.connectedAt < connectedAt) found.set(clientId, session);
  }
  const { items, hasMore } = firstAfter(found.values(), ({ clientId }) => clientId, { after: '', limit });
  return { sessions: items, hasMore: hasMore || isCut };
}
