import { expect, it } from 'vitest';
import type { NodeFigures, NodeView } from '../../console/index.ts';
import { createFleetReports } from './fleet-reports.ts';

const EMPTY_HISTORY = {
  ...{ at: [], connected: [], received: [], stored: [], sent: [], queuedBytes: [], commitMs: [], busy: [] },
  ...{ refusedConnections: [], refusedEnrollments: [], refusedTopics: [] },
};

/** One that is told apart by its time. */
const figures = (startedAt: number) => ({ startedAt }) as NodeFigures;
const listed = (name: string, state: NodeView['state'] = 'serving') => ({ name, state, since: 1 }) as NodeView;

function fleetOf(nodes: readonly NodeView[], answers: Readonly<Record<string, unknown>>) {
  const asked: unknown[] = [];
  const others = nodes.filter(({ name, state }) => name !== 'a' && state === 'serving').map(({ name }) => name);
  const reports = createFleetReports({
    node: 'a',
    list: () => nodes,
    questions: {
      answerWith: () => {},
      ask: async (about: string, input: unknown) => {
        asked.push([about, input]);
        const found = new Map(Object.entries(answers));
        return { answers: found as never, unanswered: others.filter((name) => !found.has(name)) };
      },
    },
    own: {
      figures: async () => figures(1),
      history: () => EMPTY_HISTORY,
      findings: async () => [
        { check: 'disk', outcome: 'ok', found: 'free' },
        { check: 'clock', outcome: 'failed', found: 'behind', fix: 'set it' },
      ],
    },
  });
  return { reports, asked };
}

it('the overview has a row for each node, names those that are silent or deaf, and leaves out those that were removed', async () => {
  const nodes = [
    listed('c', 'deaf'),
    listed('b'),
    listed('a'),
    listed('d', 'gone'),
    listed('e', 'removed'),
    listed('f'),
  ];
  const { reports } = fleetOf(nodes, { b: figures(2) });
  const found = await reports.overview();
  expect(found.nodes.map((one) => [one.name, one.state, one.figures?.startedAt])).toEqual([
    ['a', 'serving', 1],
    ['b', 'serving', 2],
    ['c', 'deaf', undefined],
    ['d', 'gone', undefined],
    ['f', 'serving', undefined],
  ]);
  expect([found.node, found.unanswered]).toEqual(['a', ['c', 'f']]);
});

it('ten operators who look at the same moment ask the other nodes once', async () => {
  const { reports, asked } = fleetOf([listed('a'), listed('b')], { b: figures(2) });
  await Promise.all(Array.from({ length: 10 }, () => reports.overview()));
  expect(asked).toEqual([['figures', null]]);
});

it('histories of any time are asked for by one of few times', async () => {
  const { reports, asked } = fleetOf([listed('a'), listed('b')], { b: EMPTY_HISTORY });
  for (const minutes of [1, 15, 16, 60, 61, 91, 360]) await reports.histories(minutes);
  expect(asked).toEqual([15, 60, 90, 360].map((minutes) => ['history', minutes]));
});

it('a finding of several nodes is there once, with the names of all that found it', async () => {
  const ofOther = [
    { check: 'disk', outcome: 'warning', found: 'nearly full' },
    { check: 'clock', outcome: 'failed', found: 'behind', fix: 'set it' },
  ];
  const { reports } = fleetOf([listed('a'), listed('b'), listed('c')], { b: ofOther });
  const { findings, unanswered } = await reports.examination();
  expect(findings.map(({ check, outcome, nodes }) => [check, outcome, nodes])).toEqual([
    ['disk', 'ok', ['a']],
    ['clock', 'failed', ['a', 'b']],
    ['disk', 'warning', ['b']],
  ]);
  expect(unanswered).toEqual(['c']);
});
