/** Criteria and order of the list of devices: in the address of the page, in a request to the API, and in words. */

import type { DeviceQuery } from './device-list.ts';

/** As in the address of the page. Durations are like `14d`, `1h`: a link means the same tomorrow. */
export interface DeviceFilter {
  readonly text?: string;
  readonly status?: string;
  readonly online?: string;
  readonly group?: string;
  readonly labels: readonly string[];
  readonly address?: string;
  readonly token?: string;
  readonly sdkVersion?: string;
  /** How long ago, or an ISO 8601 time. */
  readonly lastSeenBefore?: string;
  readonly lastSeenAfter?: string;
  /** Until when from now, or an ISO 8601 time. */
  readonly expiring?: string;
}

export interface DeviceOrder {
  readonly sort: string;
  readonly isReversed: boolean;
}

/** Criteria with one value, in the order in which they are shown. */
const SINGLE = [
  'text',
  'status',
  'online',
  'group',
  'address',
  'token',
  'sdkVersion',
  'lastSeenBefore',
  'lastSeenAfter',
  'expiring',
] as const;
export type SingleCriterion = (typeof SINGLE)[number];

export function readFilter(search: URLSearchParams): DeviceFilter {
  const single = SINGLE.flatMap((name) => {
    const value = search.get(name);
    return value === null || value === '' ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(single), labels: search.getAll('label') };
}

export function readOrder(search: URLSearchParams): DeviceOrder {
  return { sort: search.get('sort') ?? 'id', isReversed: search.get('reverse') === 'true' };
}

/** The address of the page with other criteria. An undefined value removes one. */
export function withFilter(search: URLSearchParams, change: Partial<DeviceFilter>): URLSearchParams {
  const changed = new URLSearchParams(search);
  for (const [name, value] of Object.entries(change)) {
    const parameter = name === 'labels' ? 'label' : name;
    changed.delete(parameter);
    for (const one of [value ?? []].flat()) if (one !== '') changed.append(parameter, one);
  }
  return changed;
}

export function withoutFilter(search: URLSearchParams): URLSearchParams {
  const changed = new URLSearchParams(search);
  for (const name of [...SINGLE, 'label']) changed.delete(name);
  return changed;
}

const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An ISO 8601 time: the text itself, or a duration before (-1) or after (1) now. The server judges any other text. */
function timeOf(text: string, direction: 1 | -1, now: number): string {
  const [, digits, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return text;
  return new Date(now + direction * +digits * (UNIT_MS[unit] ?? 0)).toISOString();
}

/** Criteria and order as the API takes them. `now`: milliseconds since the epoch. */
export function apiQuery(filter: DeviceFilter, order: DeviceOrder, now: number): DeviceQuery {
  const { labels, lastSeenBefore, lastSeenAfter, expiring, ...same } = filter;
  const query = {
    ...same,
    ...(labels.length > 0 && { label: labels }),
    ...(lastSeenBefore !== undefined && { lastSeenBefore: timeOf(lastSeenBefore, -1, now) }),
    ...(lastSeenAfter !== undefined && { lastSeenAfter: timeOf(lastSeenAfter, -1, now) }),
    ...(expiring !== undefined && { certificateEndsBefore: timeOf(expiring, 1, now) }),
    ...(order.sort !== 'id' && { sort: order.sort }),
    ...(order.isReversed && { reverse: 'true' }),
  };
  // What the address has may be any text: the server refuses what is none of its criteria.
  return query as DeviceQuery;
}

/** What a search box means: `site=hall-3` a label, `10.1.0.0/16` an address, anything else a text. */
export function readSearch(input: string, labels: readonly string[]): Partial<DeviceFilter> {
  const text = input.trim();
  if (/^[A-Za-z]\w*=./.test(text)) return { text: '', labels: [...new Set([...labels, text])] };
  if (/^\d{1,3}(\.\d{1,3}){3}(\/\d{1,2})?$/.test(text) || /^[0-9a-f]*:[0-9a-f:]*(\/\d{1,3})?$/i.test(text)) {
    return { text: '', address: text };
  }
  return { text };
}

export interface AppliedCriterion {
  readonly title: string;
  readonly value: string;
  /** Removes it. */
  readonly without: Partial<DeviceFilter>;
}

const TITLES: Readonly<Record<SingleCriterion, string>> = {
  text: 'Text',
  status: 'Status',
  online: 'Presence',
  group: 'Group',
  address: 'Address',
  token: 'Token',
  sdkVersion: 'SDK',
  lastSeenBefore: 'Last seen before',
  lastSeenAfter: 'Last seen since',
  expiring: 'Certificate ends within',
};

export function appliedCriteria(filter: DeviceFilter): readonly AppliedCriterion[] {
  const single = SINGLE.flatMap((name): AppliedCriterion[] => {
    const value = filter[name];
    if (value === undefined) return [];
    return [{ title: TITLES[name], value: inWords(name, value), without: { [name]: '' } }];
  });
  const labels = filter.labels.map((label) => ({
    title: 'Label',
    value: label,
    without: { labels: filter.labels.filter((one) => one !== label) },
  }));
  return [...single, ...labels];
}

function inWords(name: SingleCriterion, value: string): string {
  if (name === 'online') return value === 'true' ? 'online' : 'offline';
  const duration = durationInWords(value);
  return name.startsWith('lastSeen') && duration !== value ? `${duration} ago` : duration;
}

const UNIT_WORDS: Readonly<Record<string, string>> = { m: 'minute', h: 'hour', d: 'day' };

function durationInWords(text: string): string {
  const [, digits, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  return digits === undefined ? text : `${digits} ${UNIT_WORDS[unit ?? '']}${digits === '1' ? '' : 's'}`;
}
