/** A span of time in the address of a page: one of a few that end now, or two times. */

import { useQueryState } from './query-state.ts';

const MINUTE_MS = 60_000;

/** Milliseconds by the name in the address. */
export const SPANS = {
  '15m': 15 * MINUTE_MS,
  '1h': 60 * MINUTE_MS,
  '6h': 360 * MINUTE_MS,
  '24h': 1_440 * MINUTE_MS,
  '7d': 7 * 1_440 * MINUTE_MS,
  '30d': 30 * 1_440 * MINUTE_MS,
} as const;

export type SpanName = keyof typeof SPANS;

export const SPAN_CHOICES: readonly (readonly [SpanName | 'range', string])[] = [
  ['15m', '15 min'],
  ['1h', '1 hour'],
  ['6h', '6 hours'],
  ['24h', '24 hours'],
  ['7d', '7 days'],
  ['30d', '30 days'],
  ['range', 'From, to'],
];

export interface TimeSpan {
  readonly name: SpanName | 'range';
  /** ISO 8601, or empty: of `range` alone. */
  readonly from: string;
  readonly to: string;
  /** Milliseconds since the epoch. `until` is undefined where the span ends now. */
  bounds(now: number): { readonly since: number; readonly until: number | undefined };
  choose(name: SpanName | 'range'): void;
  setFrom(iso: string): void;
  setTo(iso: string): void;
}

/** The parameters `since`, `from` and `to` of the address. */
export function useTimeSpan(fallback: SpanName): TimeSpan {
  const [text, choose] = useQueryState('since', fallback);
  const [from, setFrom] = useQueryState('from');
  const [to, setTo] = useQueryState('to');
  const name = text === 'range' || Object.hasOwn(SPANS, text) ? (text as SpanName | 'range') : fallback;
  return {
    name,
    from,
    to,
    bounds: (now) => {
      if (name !== 'range') return { since: now - SPANS[name], until: undefined };
      const [begin, end] = [Date.parse(from), Date.parse(to)];
      const until = Number.isNaN(end) ? undefined : end;
      const since = Number.isNaN(begin) ? (until ?? now) - SPANS[fallback] : begin;
      return until !== undefined && since >= until ? { since: until - MINUTE_MS, until } : { since, until };
    },
    choose,
    setFrom,
    setTo,
  };
}
