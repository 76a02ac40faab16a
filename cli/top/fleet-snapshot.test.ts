/** What `rollcall top` shows of several nodes. */

import { expect, it } from 'vitest';
import { type FleetReading, fleetPart } from './fleet-snapshot.ts';
import { MetricSamples } from './metric-samples.ts';
import { snapshotOf } from './server-snapshot.ts';
import { snapshotLines } from './snapshot-text.ts';

type Node = FleetReading['nodes'][number];

const TIME = '2026-11-30T08:00:00.000Z';

function node(name: string, connected: number, journal: Partial<NonNullable<Node['figures']>['journal']> = {}): Node {
  const none = { connections: 0, enrollments: 0, topics: 0 };
  return {
    ...{ name, state: 'serving', since: TIME, roles: ['mqtt', 'console'], version: '1.0.0' },
    figures: {
      ...{ startedAt: TIME, isReady: true, sessions: { connected, pending: 0, persistent: connected } },
      perSecond: { connects: 1, received: 10, stored: 10, sent: 2, dropped: 0, refused: 0.5, busy: 0.25 },
      totals: { connects: 5, received: 100, stored: 100, sent: 20, dropped: 0 },
      ...{ refused: none, refusedLastHour: none, clonesSuspected: 0, lagMs: 1.2 },
      refusals: [{ by: 'est', reason: 'token_rejected', total: 2, perSecond: 0.5 }],
      journal: {
        ...{ state: 'ok', queuedBytes: 0, commitsPerSecond: 1, commitMs: 2, commitP99Ms: 9 },
        ...{ diskFreeBytes: 500, diskFloorBytes: 0, heldDevices: 0, heldGroups: 0 },
        ...journal,
      },
      busiest: [{ device: 'pump-1', bytes: 10 }],
    },
  };
}

const SILENT: Node = { name: 'c', state: 'serving', since: TIME, roles: ['mqtt'], version: '1.0.0' };
const fleet = (nodes: readonly Node[], unanswered: readonly string[] = []): FleetReading => {
  return { time: TIME, version: '1.0.0', node: 'a', nodes: [...nodes], unanswered: [...unanswered] };
};

it('the numbers of several nodes are their sums, and the journal is that of the worst', () => {
  const slow = node('b', 4, { state: 'behind', commitsPerSecond: 3, commitMs: 6, diskFreeBytes: 100 });
  expect(fleetPart(fleet([node('a', 3), slow]))).toMatchObject({
    sessions: 7,
    messages: { stored: { total: 200, perSecond: 20 } },
    refusals: [{ by: 'est', reason: 'token_rejected', total: 4, perSecond: 1 }],
    journal: { state: 'behind', commitMs: 5, diskFreeBytes: 100 },
    busiest: [{ device: 'pump-1', bytesToday: { total: 20 } }],
  });
});

it('a server that is alone has no part of a fleet', () => {
  expect(fleetPart(fleet([]))).toBeUndefined();
});

it('each node has a line, and one that is silent is named', () => {
  const health = { time: TIME, version: '1.0.0', status: 'ok', telemetry: 'ok' } as never;
  const metrics = new MetricSamples('rollcall_ready 1\n');
  const reading = { health, metrics, fleet: fleet([node('a', 3), node('b', 4), SILENT], ['c']), at: 0 };
  const lines = snapshotLines(snapshotOf(reading, undefined, []), { columns: 120, rows: 40 });
  expect(lines[0]).toBe(`fleet     ok  version 1.0.0  3 of 3 nodes serving  answered by a  ${TIME}`);
  expect(lines).toContain('NO ANSWER c');
  const table = lines.slice(lines.findIndex((line) => line.startsWith('NODE')));
  expect(table.slice(0, 4)).toEqual([
    'NODE  ROLES         STATE      CONNECTED  IN/S  REFUSED/S  ACK P99  LAG P99  BUSY  JOURNAL',
    'a     mqtt,console  serving    3          10    0.5        9.0 ms   1.2 ms   25%   ok',
    'b     mqtt,console  serving    4          10    0.5        9.0 ms   1.2 ms   25%   ok',
    'c     mqtt          no answer  -          -     -          -        -        -     -',
  ]);
  const small = snapshotLines(snapshotOf(reading, undefined, []), { columns: 40, rows: 10 });
  expect([small.length <= 10, small.every((line) => line.length <= 40)]).toEqual([true, true]);
});
