/** A refusal that was reported while the page is open, added to the list that the page has. */

import type { AnswerOf } from '../../api.ts';

export type RefusalList = AnswerOf<'GET /v1/refusals'>;
export type RefusalGroup = RefusalList['groups'][number];
export type LiveRefusal = AnswerOf<'GET /v1/refusals/follow'>;

const FEW = 5;
const MAX_GROUPS = 500;
/** Later buckets come with the next load. */
const MAX_ADDED = 200;

export function withRefusal(list: RefusalList, refusal: LiveRefusal): RefusalList {
  const known = list.groups.find(({ key }) => key === refusal.key);
  const others = list.groups.filter(({ key }) => key !== refusal.key);
  const groups = [grown(known, refusal), ...others].slice(0, MAX_GROUPS);
  return { ...list, groups, until: refusal.at, serverTime: refusal.at, buckets: counted(list.buckets, refusal) };
}

function grown(group: RefusalGroup | undefined, refusal: LiveRefusal): RefusalGroup {
  const { at, leftOut, address, topic, ...facts } = refusal;
  return {
    ...facts,
    ...(facts.certificate === undefined && group?.certificate !== undefined && { certificate: group.certificate }),
    count: (group?.count ?? 0) + 1,
    isAtLeast: leftOut > 0 || group?.isAtLeast === true,
    firstAt: group?.firstAt ?? at,
    lastAt: at,
    addresses: withNewest(group?.addresses, address),
    topics: withNewest(group?.topics, topic),
  };
}

function withNewest(known: readonly string[] = [], text: string | undefined): string[] {
  return text === undefined ? [...known] : [text, ...known.filter((one) => one !== text)].slice(0, FEW);
}

function counted(buckets: RefusalList['buckets'], { kind, at, leftOut }: LiveRefusal): RefusalList['buckets'] {
  const { seconds } = buckets;
  const begin = Math.floor(Date.parse(at) / 1000 / seconds) * seconds;
  const copy = {
    seconds,
    at: [...buckets.at],
    connection: [...buckets.connection],
    enrollment: [...buckets.enrollment],
    renewal: [...buckets.renewal],
    topic: [...buckets.topic],
  };
  for (let added = 0; added < MAX_ADDED; added += 1) {
    const last = copy.at.at(-1);
    if (last !== undefined && last >= begin) break;
    copy.at.push(last === undefined ? begin : last + seconds);
    for (const series of [copy.connection, copy.enrollment, copy.renewal, copy.topic]) series.push(0);
  }
  const index = copy.at.indexOf(begin);
  if (index >= 0) copy[kind][index] = (copy[kind][index] ?? 0) + 1 + leftOut;
  return copy;
}
