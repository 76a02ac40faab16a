import { expect, it } from 'vitest';
import { NodeReports } from './node-reports.ts';

it('all nodes that are heard are asked, those that do not answer are named, and a question that nobody reads has no answer', async () => {
  const asked: unknown[] = [];
  const reports = new NodeReports({
    others: () => ['b', 'c'],
    requests: {
      ask: async (to: readonly string[], call: string, input: unknown) => {
        asked.push([to, call, input]);
        return new Map([['b', { load: 1 }]]) as never;
      },
    },
  });
  const found = await reports.ask({ about: 'load' });
  expect([[...found.reports], found.unanswered]).toEqual([[['b', { load: 1 }]], ['c']]);
  expect(asked).toEqual([[['b', 'c'], 'report', { about: 'load' }]]);
  expect(reports.report({ about: 'load' })).toBeUndefined();
  reports.answerWith((question) => [question]);
  expect(reports.report('load')).toEqual(['load']);
});
