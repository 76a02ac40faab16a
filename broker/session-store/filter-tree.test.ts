/** Compares the filter tree with `filterMatches()` of the protocol module. */

import { filterMatches } from '@rollcall/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FilterTree } from './filter-tree.ts';

const name = fc.constantFrom('a', 'b', '', '$x');
const topicOf = fc.array(name, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filterOf = fc
  .tuple(fc.array(fc.oneof(name, fc.constant('+')), { minLength: 0, maxLength: 3 }), fc.boolean())
  .map(([levels, isOpen]) => (isOpen || levels.length === 0 ? [...levels, '#'] : levels).join('/'));

describe('the filter tree', () => {
  it('has a match for a topic exactly when one of its filters matches', () => {
    fc.assert(
      fc.property(fc.array(filterOf, { maxLength: 6 }), topicOf, (filters, topic) => {
        const tree = new FilterTree<{ readonly clientId: string }>(({ clientId }) => clientId);
        for (const filter of filters) tree.addLive(filter);
        expect(tree.hasMatch(topic)).toBe(filters.some((filter) => filterMatches(filter, topic)));
      }),
      { numRuns: 2_000 },
    );
  });

  it('finds exactly the stored subscriptions that match, after any additions and removals', () => {
    const change = fc.record({ filter: filterOf, clientId: fc.constantFrom('c1', 'c2'), isAdded: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), topicOf, (changes, topic) => {
        const tree = new FilterTree<{ readonly topic: string; readonly clientId: string }>(({ clientId }) => clientId);
        const model = new Map<string, { readonly topic: string; readonly qos: number; readonly clientId: string }>();
        for (const { filter, clientId, isAdded } of changes) {
          const subscription = { topic: filter, qos: 1, clientId };
          if (isAdded) {
            tree.addStored(filter, subscription);
            model.set(`${clientId} ${filter}`, subscription);
          } else {
            tree.removeStored(filter, clientId);
            model.delete(`${clientId} ${filter}`);
          }
        }
        const key = (one: { readonly topic: string; readonly clientId?: string }) => `${one.clientId} ${one.topic}`;
        const matching = [...model.values()].filter((one) => filterMatches(one.topic, topic));
        expect(tree.matching(topic).map(key).sort()).toEqual(matching.map(key).sort());
        expect(tree.hasMatch(topic)).toBe(matching.length > 0);
        expect(tree.storedCount).toBe(model.size);
      }),
      { numRuns: 2_000 },
    );
  });

  it('has a match until the last subscription of a filter, live or stored, is removed', () => {
    const tree = new FilterTree<{ readonly clientId: string }>(({ clientId }) => clientId);
    tree.addLive('a/+');
    tree.addLive('a/+');
    tree.addStored('a/+', { clientId: 'c1' });
    tree.removeLive('a/+');
    tree.removeLive('a/+');
    expect(tree.hasMatch('a/b')).toBe(true);
    const { generation } = tree;
    tree.removeStored('a/+', 'c1');
    expect(tree.hasMatch('a/b')).toBe(false);
    expect(tree.generation).not.toBe(generation);
  });

  it('ignores the removal of an unknown filter', () => {
    const tree = new FilterTree<{ readonly clientId: string }>(({ clientId }) => clientId);
    tree.addLive('a/b');
    tree.removeLive('a');
    tree.removeLive('a/b/c');
    tree.removeStored('a/b', 'c1');
    expect(tree.hasMatch('a/b')).toBe(true);
  });
});
