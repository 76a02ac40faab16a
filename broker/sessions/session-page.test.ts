import { expect, it } from 'vitest';
import { type FleetSession, firstAfter, mergePages, type NodeSessions } from './session-page.ts';

const MANY = Array.from({ length: 1_000 }, (_, n) => `dev-${(n * 7) % 1_000}`);
const SORTED = MANY.toSorted();

function session(clientId: string, node: string, connectedAt = 1): FleetSession {
  const identity = { kind: 'device', id: clientId } as FleetSession['identity'];
  return { identity, clientId, node, connectedAt, address: '::1', serial: '1a', notAfter: 2 };
}

/** What a node answers that has these client ids. */
function pageOf(node: string, clientIds: readonly string[], after: string, limit: number): NodeSessions {
  const { items, hasMore } = firstAfter(clientIds, (one) => one, { after, limit });
  return { sessions: items.map((clientId) => session(clientId, node)), hasMore };
}

it('a page has the client ids that follow the one before it, whatever the order of the sessions', () => {
  const found: string[] = [];
  for (let hasMore = true; hasMore; ) {
    const page = firstAfter(MANY, (one) => one, { after: found.at(-1) ?? '', limit: 7 });
    found.push(...page.items);
    hasMore = page.hasMore;
  }
  expect(found).toEqual(SORTED);
  expect(firstAfter(MANY, (one) => one, { after: SORTED[989] as string, limit: 10 })).toEqual({
    ...{ items: SORTED.slice(990), hasMore: false },
  });
});

it('pages of several nodes are one list without gaps and repeats, however their sessions are spread', () => {
  const spreads: readonly ((at: number) => number)[] = [(at) => at % 3, (at) => Math.floor(at / 400), () => 0];
  for (const spread of spreads) {
    const nodes = [0, 1, 2].map((node) => MANY.filter((clientId) => spread(SORTED.indexOf(clientId)) === node));
    const found: string[] = [];
    for (let hasMore = true; hasMore; ) {
      const pages = nodes.map((clientIds, n) => pageOf(`n${n}`, clientIds, found.at(-1) ?? '', 20));
      const merged = mergePages(pages, 20);
      expect(merged.sessions.length).toBeGreaterThan(0);
      found.push(...merged.sessions.map(({ clientId }) => clientId));
      hasMore = merged.hasMore;
    }
    expect(found).toEqual(SORTED);
  }
});

it('a client id that two nodes have is listed once, with its later connection', () => {
  const pages = [session('dev-1', 'a', 5), session('dev-1', 'b', 7)].map((one) => ({
    sessions: [one],
    hasMore: false,
  }));
  expect(mergePages(pages, 10)).toEqual({ sessions: [session('dev-1', 'b', 7)], hasMore: false });
});
