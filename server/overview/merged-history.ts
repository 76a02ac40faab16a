/** The histories of several nodes as that of one fleet: rates and sessions are added, times of commits and loads are those of the worst. */

import type { ServerHistory } from '../../console/index.ts';
import { SAMPLE_EVERY_MS } from './history.ts';

type Series = Exclude<keyof ServerHistory, 'at'>;

/** Added over the nodes. */
const ADDED = [
  'connected',
  'received',
  'stored',
  'sent',
  'refusedConnections',
  'refusedEnrollments',
  'refusedTopics',
  'queuedBytes',
] as const satisfies readonly Series[];

/** Each node takes its samples at times of its own: the points are those of the node with the longest history, and of another the nearest in time. */
export function mergedHistory(all: readonly ServerHistory[], since: number): ServerHistory {
  const histories = all.filter(({ at }) => at.length > 0);
  const [longest] = histories.toSorted((one, other) => (one.at[0] as number) - (other.at[0] as number));
  if (longest === undefined) return all[0] as ServerHistory;
  const merged: ServerHistory = {
    at: [],
    ...{ connected: [], received: [], stored: [], sent: [] },
    ...{ refusedConnections: [], refusedEnrollments: [], refusedTopics: [], queuedBytes: [] },
    ...{ commitMs: [], busy: [] },
  };
  const nearest = histories.map(({ at }) => nearestIn(at, spacingOf(longest.at)));
  for (const at of longest.at) {
    if (at * 1_000 < since) continue;
    const points = histories.map((history, index) => [history, nearest[index]?.(at) ?? -1] as const);
    const values = (series: Series) =>
      points.flatMap(([history, index]) => {
        const value = history[series][index];
        return value === undefined || value === null ? [] : [value];
      });
    merged.at.push(at);
    for (const series of ADDED) merged[series].push(values(series).reduce((sum, value) => sum + value, 0));
    const commits = values('commitMs');
    merged.commitMs.push(commits.length === 0 ? null : Math.max(...commits));
    merged.busy.push(Math.max(0, ...values('busy')));
  }
  return merged;
}

/** The usual time between two points, in seconds. */
function spacingOf(at: readonly number[]): number {
  return at.length < 2 ? SAMPLE_EVERY_MS / 1_000 : ((at.at(-1) as number) - (at[0] as number)) / (at.length - 1);
}

/** Asked for ascending times: the index of the point nearest to a time, -1 where none is as near as `most` seconds. */
function nearestIn(times: readonly number[], most: number): (at: number) => number {
  let index = 0;
  return (at) => {
    const distance = (of: number) => Math.abs((times[of] ?? Infinity) - at);
    while (distance(index + 1) <= distance(index)) index += 1;
    return distance(index) <= most ? index : -1;
  };
}
