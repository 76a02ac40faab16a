/** What nodes are told about the filters of others, and when it counts as told. */

import { expect, it } from 'vitest';
import type { RouteChange } from './node-calls.ts';
import { RouteTable } from './route-table.ts';

/** A node whose answers the test gives. */
function toldNode() {
  const told: (readonly RouteChange[])[] = [];
  const answers: (() => void)[] = [];
  const tell = (changes: readonly RouteChange[]) => {
    told.push(changes);
    return new Promise<void>((resolve) => answers.push(resolve));
  };
  return { told, tell, answer: () => answers.shift()?.() };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

it('confirms what was added so far, however much is added afterwards', async () => {
  const table = new RouteTable();
  const other = toldNode();
  table.addNode('n1', async () => {});
  table.addNode('n2', other.tell);
  table.add('n1', 'a', { isQueued: false });
  await turn();
  const confirmed: string[] = [];
  for (const filter of ['b', 'c', 'd']) {
    table.add('n1', filter, { isQueued: false });
    void table.confirmed().then(() => confirmed.push(filter));
    await turn();
    expect(confirmed).not.toContain(filter);
  }
  other.answer();
  await turn();
  expect(other.told.map((changes) => changes.map(({ filter }) => filter))).toEqual([['a'], ['b', 'c', 'd']]);
  table.add('n1', 'e', { isQueued: false });
  expect(confirmed).toEqual([]);
  other.answer();
  await turn();
  expect(confirmed).toEqual(['b', 'c', 'd']);
});

it('tells a node that is added later every filter, and the others that a node and its filters are gone', async () => {
  const table = new RouteTable();
  const [first, second] = [toldNode(), toldNode()];
  table.addNode('n1', first.tell);
  table.add('n1', 'a', { isQueued: false });
  table.add('n1', 'a', { isQueued: true });
  table.addNode('n2', second.tell);
  await turn();
  expect(second.told).toEqual([[{ filter: 'a', kind: 'live', source: 'n1', isThere: true }]]);
  expect([...table.nodesFor('a', 1)]).toEqual(['n1']);
  table.removeNode('n1');
  second.answer();
  await turn();
  expect(second.told[1]).toEqual([{ filter: 'a', kind: 'live', source: 'n1', isThere: false }]);
  expect([...table.nodesFor('a', 0)]).toEqual([]);
  expect(first.told).toEqual([]);
});
