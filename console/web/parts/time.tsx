import { useSignal } from '@preact/signals';
import { useEvery } from '../resource.ts';

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const STEPS = [
  ['second', 60],
  ['minute', 60],
  ['hour', 24],
  ['day', 30],
  ['month', 12],
  ['year', Number.POSITIVE_INFINITY],
] as const;

/** `3 minutes ago`, `in 12 days`. */
export function relativeTime(at: number, now: number): string {
  let amount = (at - now) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) return RELATIVE.format(Math.round(amount), unit);
    amount /= size;
  }
  return '';
}

/** An ISO 8601 time in the reader's time zone, with UTC on hover. `relative` counts from now. */
export function Time(props: { readonly at: string; readonly relative?: boolean }) {
  const at = Date.parse(props.at);
  return (
    <time dateTime={props.at} title={`${new Date(at).toISOString()} (UTC)`}>
      {props.relative === true ? <Relative at={at} /> : LOCAL.format(at)}
    </time>
  );
}

function Relative({ at }: { readonly at: number }) {
  const now = useSignal(Date.now());
  useEvery(10_000, () => {
    now.value = Date.now();
  });
  return <>{relativeTime(at, Math.max(now.value, Date.now()))}</>;
}
