import { expect, it } from 'vitest';
import type { NodeView } from '../../console/index.ts';
import { nodeFinding } from './node-findings.ts';

const node = (name: string, changes: Partial<NodeView> = {}): NodeView => ({
  ...{ name, kind: 'thread', state: 'serving', since: 0, sessions: 0, eventLoopBusy: 0.1, crashes: 0 },
  ...changes,
});

it.each<[string, readonly NodeView[], string, string]>([
  ['serves alone', [node('main', { kind: 'process' })], 'ok', 'the main thread serves MQTT, 10 % busy'],
  [
    'is busy while cores are free',
    [node('main', { kind: 'process', eventLoopBusy: 0.93 })],
    'warning',
    'the main thread serves MQTT, 93 % busy',
  ],
  [
    'is one of two that serve',
    [node('w1'), node('w2', { eventLoopBusy: 0.4 })],
    'ok',
    '2 of 2 serve MQTT; the busiest is w2, 40 % busy',
  ],
  [
    'is down',
    [node('w1'), node('w2', { state: 'stopped', eventLoopBusy: undefined })],
    'warning',
    '1 of 2 serve MQTT; the busiest is w1, 10 % busy; w2 is stopped',
  ],
  [
    'has crashed',
    [node('w1', { crashes: 2 }), node('w2')],
    'warning',
    '2 of 2 serve MQTT; the busiest is w1, 10 % busy; ended by an error: w1 2 times',
  ],
])('the doctor says of a node that it %s', (_name, nodes, outcome, found) => {
  expect(nodeFinding(nodes, 4)).toMatchObject({ check: 'workers', outcome, found });
});

const SERVER = {
  host: 'h',
  roles: ['mqtt'],
  version: '1',
  startedAt: 0,
  connections: 0,
  protocol: 1,
  skewMs: 0,
  closedBy: undefined,
};

it.each<[string, Partial<NodeView>, string, string]>([
  ['serves', {}, 'ok', '2 of 2 nodes serve'],
  ['is not heard', { state: 'deaf' }, 'warning', '1 of 2 nodes serve; b is deaf'],
  ['was removed', { state: 'removed' }, 'ok', '1 of 1 nodes serve'],
  ['is busy', { eventLoopBusy: 0.9 }, 'warning', '2 of 2 nodes serve; b is 90 % busy'],
])('the doctor says of a server with a shared store that it %s', (_name, changes, outcome, found) => {
  const nodes = [node('a', { server: SERVER }), node('b', { server: SERVER, ...changes })];
  expect(nodeFinding(nodes)).toMatchObject({ check: 'nodes', outcome, found });
});

it('the doctor does not ask for more workers than there are cores', () => {
  const busy = [node('w1', { eventLoopBusy: 0.95 }), node('w2', { eventLoopBusy: 0.95 })];
  expect(nodeFinding(busy, 2)).toMatchObject({ outcome: 'ok' });
});
