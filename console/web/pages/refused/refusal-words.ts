/** Kinds of refusals and of those who were refused, as the page names them. */

import type { ChartSeries } from '../../parts/chart.tsx';
import type { RefusalGroup } from './merge-refusal.ts';

export type RefusalKind = RefusalGroup['kind'];

export const KIND_TITLES: Readonly<Record<RefusalKind, string>> = {
  connection: 'Connections',
  enrollment: 'Enrollments',
  renewal: 'Renewals',
  topic: 'Topics',
};

export const KIND_WORDS: Readonly<Record<RefusalKind, string>> = {
  connection: 'connection',
  enrollment: 'enrollment',
  renewal: 'renewal',
  topic: 'topic',
};

/** In the order of the chart, from the bottom. */
export const KINDS: readonly RefusalKind[] = ['connection', 'enrollment', 'renewal', 'topic'];

export const KIND_SERIES: readonly ChartSeries[] = [
  { label: 'connections', colour: '--bad' },
  { label: 'enrollments', colour: '--warn' },
  { label: 'renewals', colour: '--accent' },
  { label: 'topics', colour: '--info' },
];

export const PARTY_WORDS: Readonly<Record<RefusalGroup['party']['kind'], string>> = {
  device: 'device',
  service: 'service',
  requested: 'asks for this id',
  claimed: 'untrusted certificate',
  token: 'token',
  address: 'address',
  unknown: 'unknown',
};

const DEVICE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The page of the device; undefined where the party is none, or has no valid id. */
export function devicePathOf({ kind, name }: RefusalGroup['party']): string | undefined {
  const isDevice = kind === 'device' || kind === 'requested' || kind === 'claimed';
  return isDevice && DEVICE_ID.test(name) ? `/devices/${name}` : undefined;
}
