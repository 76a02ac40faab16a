/** What a server refused since its start, by reason, read from the counters of its parts. */

import type { RefusalTotal } from '../../console/index.ts';

export type RefusalCounts = readonly Omit<RefusalTotal, 'perSecond'>[];

type Counters = Readonly<Record<string, number>>;

const ENROLL_PREFIXES = ['enroll_refused_total/', 'enroll_connections_refused_total/'];

export function countRefusals(broker: Counters, enroll: Counters): RefusalCounts {
  const found: Omit<RefusalTotal, 'perSecond'>[] = [];
  for (const [key, total] of Object.entries(broker)) {
    if (key.startsWith('refused.')) found.push({ by: 'mqtt', reason: labelOf(key.slice('refused.'.length)), total });
  }
  for (const [key, total] of Object.entries(enroll)) {
    const prefix = ENROLL_PREFIXES.find((each) => key.startsWith(each));
    if (prefix !== undefined) found.push({ by: 'est', reason: labelOf(key.slice(prefix.length)), total });
  }
  for (const action of ['publish', 'subscribe', 'receive'] as const) {
    found.push({ by: 'policy', reason: action, total: broker[`${action}_denied`] ?? 0 });
  }
  return found.filter(({ total }) => total > 0);
}

/** As metrics have it: `reason=token_rejected` or the reason alone, without spaces. */
function labelOf(text: string): string {
  return text.slice(text.indexOf('=') + 1).replaceAll(' ', '_');
}

/** With the rate since an earlier reading. */
export function ratedRefusals(now: RefusalCounts, before: RefusalCounts, seconds: number): readonly RefusalTotal[] {
  const earlier = new Map(before.map(({ by, reason, total }) => [`${by}/${reason}`, total]));
  return now.map(({ by, reason, total }) => {
    return { by, reason, total, perSecond: (total - (earlier.get(`${by}/${reason}`) ?? 0)) / Math.max(1, seconds) };
  });
}
