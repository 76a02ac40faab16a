import { useSignal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { api, type RequestOf, urlOf } from '../api.ts';
import { useLiveEvents } from '../live-events.ts';
import { LiveBadge } from '../parts/badge.tsx';
import { Chart } from '../parts/chart.tsx';
import { EmptyState, PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Time } from '../parts/time.tsx';
import { countOf, countText } from '../quantities.ts';
import { useEvery, useResource } from '../resource.ts';
import { type TimeSpan, useTimeSpan } from '../time-span.ts';
import { type LiveRefusal, type RefusalList, withRefusal } from './refused/merge-refusal.ts';
import { RefusalFilter, useRefusalFilter } from './refused/refusal-filter.tsx';
import { RefusalGroups } from './refused/refusal-groups.tsx';
import { KIND_SERIES, KINDS } from './refused/refusal-words.ts';
import './refused/refused.css';

type Query = NonNullable<RequestOf<'GET /v1/refusals'>['query']>;

const LIVE_FLUSH_MS = 300;
/** The span moves on, and what the page counted by itself is counted by the server again. */
const RELOAD_MS = 60_000;

/** Handshakes, enrollments, renewals and topics that were refused: by whom, why, and what mends it. */
export function Refused() {
  const span = useTimeSpan('24h');
  const { filter, query, clear } = useRefusalFilter();
  const { list, problem, reload, live } = useRefusals(query, span);
  const isFiltered = Object.keys(query).length > 0;
  return (
    <>
      <PageHead
        title="Refused"
        description={
          list === undefined ? (
            ' '
          ) : (
            <>
              Server time <Time at={list.serverTime} />
            </>
          )
        }
      >
        {live !== undefined && <LiveBadge state={live} />}
      </PageHead>
      <RefusalFilter filter={filter} span={span} codes={list?.groups.map(({ code }) => code) ?? []} />
      {problem !== undefined && <ProblemNotice problem={problem} retry={reload} />}
      {list !== undefined && list.groups.length === 0 && <Nothing isFiltered={isFiltered} onClear={clear} />}
      {list !== undefined && list.groups.length > 0 && (
        <>
          <RefusalChart list={list} />
          <RefusalGroups list={list} />
        </>
      )}
    </>
  );
}

/** The list, with what is refused while the page is open. `live` is undefined where the span ends in the past. */
function useRefusals(query: Query, span: TimeSpan) {
  const key = JSON.stringify([query, span.name, span.from, span.to]);
  const isLive = span.bounds(Date.now()).until === undefined;
  const found = useResource((signal) => {
    const { since, until } = span.bounds(Date.now());
    const times = { since: iso(since), ...(until !== undefined && { until: iso(until) }) };
    return api('GET /v1/refusals', { query: { ...query, ...times }, signal });
  }, key);
  const shown = useSignal<RefusalList | undefined>(undefined);
  useSignalEffect(() => {
    shown.value = found.data.value;
  });
  const waiting = useRef<{ refusals: LiveRefusal[]; timer?: ReturnType<typeof setTimeout> | undefined }>({
    refusals: [],
  });
  const flush = () => {
    const { refusals } = waiting.current;
    waiting.current = { refusals: [] };
    const list = shown.value;
    if (list !== undefined) shown.value = refusals.reduce(withRefusal, list);
  };
  const add = (refusal: LiveRefusal) => {
    const { current } = waiting;
    current.refusals.push(refusal);
    current.timer ??= setTimeout(flush, LIVE_FLUSH_MS);
  };
  const live = useLiveEvents(isLive ? urlOf('/v1/refusals/follow', { query }) : undefined, [], {
    onEvent: (data) => add(data as LiveRefusal),
    onGap: found.reload,
  });
  useEvery(RELOAD_MS, () => {
    if (isLive) found.reload();
  });
  return {
    list: shown.value,
    problem: found.problem.value,
    reload: found.reload,
    live: isLive ? live.value : undefined,
  };
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

function RefusalChart({ list }: { readonly list: RefusalList }) {
  const { buckets, groups, moreGroups } = list;
  const sums = KINDS.map((kind) => buckets[kind].reduce((sum, count) => sum + count, 0));
  const sum = sums.reduce((one, other) => one + other, 0);
  const title = `${countOf(sum, 'refusal')} in ${countOf(groups.length + moreGroups, 'group')}`;
  const from = buckets.at[0] ?? 0;
  return (
    <Panel title={title}>
      <Chart
        times={buckets.at}
        values={KINDS.map((kind) => buckets[kind])}
        series={KIND_SERIES}
        range={[from, (buckets.at.at(-1) ?? from) + buckets.seconds]}
        barSeconds={buckets.seconds}
        totals
        fromZero
        whole
        height={140}
        format={countText}
        summary={`Refusals over time: ${KIND_SERIES.map(({ label }, order) => `${countText(sums[order] ?? 0)} ${label}`).join(', ')}`}
      />
    </Panel>
  );
}

function Nothing(props: { readonly isFiltered: boolean; readonly onClear: () => void }) {
  return (
    <Panel>
      <EmptyState title={props.isFiltered ? 'Nothing refused matches the filter' : 'Nothing was refused in this time'}>
        <p>
          Handshakes, enrollments, renewals and topics that the server refuses appear here at once, with the check that
          failed and what mends it.
        </p>
        {props.isFiltered && (
          <button type="button" onClick={props.onClear}>
            Clear the filter
          </button>
        )}
      </EmptyState>
    </Panel>
  );
}
