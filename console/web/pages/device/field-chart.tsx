/** A number in the payloads of one stream over time: what is stored, and what comes. */

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { api } from '../../api.ts';
import { Chart } from '../../parts/chart.tsx';
import { Field } from '../../parts/field.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { useQueryState } from '../../query-state.ts';
import { useEvery, useResource } from '../../resource.ts';
import { numberAt, numberFields } from './json-fields.ts';
import type { Message } from './telemetry-tab.tsx';

/** Seconds. A chart has at most 300 points. */
const SPANS: Readonly<Record<string, readonly [title: string, seconds: number]>> = {
  '15m': ['15 minutes', 900],
  '1h': ['1 hour', 3_600],
  '6h': ['6 hours', 21_600],
  '24h': ['24 hours', 86_400],
  '7d': ['7 days', 604_800],
  '30d': ['30 days', 2_592_000],
};
const POINTS = 300;
const REFRESH_MS = 60_000;

interface Point {
  readonly at: number;
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly avg: number;
}

interface FieldChartProps {
  readonly id: string;
  /** The newest message of each stream. */
  readonly streams: readonly Message[];
  /** The message that came last. */
  readonly newest: Message | undefined;
}

export function FieldChart({ id, streams, newest }: FieldChartProps) {
  const [chosenStream, setStream] = useQueryState('stream');
  const [chosenField, setField] = useQueryState('field');
  const [span, setSpan] = useQueryState('span', '15m');
  const charted = streams.filter(({ payload }) => numberFields(payload).length > 0);
  const message = streams.find(({ stream }) => stream === chosenStream) ?? charted[0];
  const fields = numberFields(message?.payload);
  // A link may name a field that the newest message does not have.
  const field = chosenField === '' ? (fields[0]?.pointer ?? '') : chosenField.replace(/^value$/, '');
  if (message === undefined) return null;
  const pointers = [...new Set([...fields.map(({ pointer }) => pointer), ...(fields.length > 0 ? [field] : [])])];
  return (
    <Panel title="Chart">
      <div class="chart-choices">
        <Field label="Stream">
          {(ids) => (
            <select {...ids} value={message.stream} onChange={(event) => setStream(event.currentTarget.value)}>
              {streams.map(({ stream }) => (
                <option key={stream} value={stream}>
                  {stream}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Field">
          {(ids) => (
            <select {...ids} value={field} onChange={(event) => setField(event.currentTarget.value || 'value')}>
              {pointers.map((pointer) => (
                <option key={pointer} value={pointer}>
                  {pointer === '' ? 'the payload itself' : pointer.slice(0, 100)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Time">
          {(ids) => (
            <select {...ids} value={span} onChange={(event) => setSpan(event.currentTarget.value)}>
              {Object.entries(SPANS).map(([value, [title]]) => (
                <option key={value} value={value}>
                  {title}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      {fields.length === 0 && chosenField === '' ? (
        <p class="soft">The newest message of this stream has no number.</p>
      ) : (
        <Series
          key={`${message.stream} ${field} ${span}`}
          id={id}
          stream={message.stream}
          field={field}
          seconds={SPANS[span]?.[1] ?? 900}
          newest={newest}
        />
      )}
    </Panel>
  );
}

function Series(props: {
  readonly id: string;
  readonly stream: string;
  readonly field: string;
  readonly seconds: number;
  readonly newest: Message | undefined;
}) {
  const { id, stream, field, seconds, newest } = props;
  const bucketSeconds = seconds / POINTS;
  const points = useSignal<readonly Point[]>([]);
  const series = useResource(async (signal) => {
    const until = Date.now();
    const query = {
      ...{ device: id as never, stream, value: field, bucketSeconds },
      since: new Date(until - seconds * 1_000).toISOString(),
      until: new Date(until + 60_000).toISOString(),
    };
    const answer = await api('GET /v1/telemetry/series', { query, signal });
    points.value = answer.points.map(({ at, ...point }) => ({ ...point, at: Date.parse(at) / 1_000 }));
    return answer;
  }, `${stream} ${field} ${seconds}`);
  useEvery(REFRESH_MS, series.reload);
  useEffect(() => {
    if (newest === undefined || newest.stream !== stream) return;
    const value = numberAt(newest.payload, field);
    if (value !== undefined)
      points.value = withValue(points.value, Date.parse(newest.receivedAt) / 1_000, value, bucketSeconds);
  }, [newest, stream, field, bucketSeconds, points]);
  const shown = points.value;
  const last = shown.at(-1);
  const now = Date.now() / 1_000;
  return (
    <>
      {series.problem.value !== undefined && <ProblemNotice problem={series.problem.value} retry={series.reload} />}
      <Chart
        times={shown.map(({ at }) => at)}
        values={[shown.map(({ min }) => min), shown.map(({ max }) => max), shown.map(({ avg }) => avg)]}
        series={[
          { label: 'least', colour: '--line-strong' },
          { label: 'most', colour: '--line-strong' },
          { label: 'average', colour: '--accent' },
        ]}
        range={[now - seconds, now]}
        summary={
          last === undefined
            ? `No number of ${stream} in this time`
            : `${field === '' ? stream : `${field} of ${stream}`}: ${shown.length} points, the last one ${last.avg}`
        }
        height={260}
      />
      {shown.length === 0 && !series.isLoading.value && <p class="soft">There is no number in this time.</p>}
    </>
  );
}

/** Adds a value to the interval that it falls into. */
function withValue(points: readonly Point[], at: number, value: number, bucketSeconds: number): readonly Point[] {
  const last = points.at(-1);
  if (last !== undefined && at < last.at + bucketSeconds) {
    const count = last.count + 1;
    const merged = {
      ...{ at: last.at, count, min: Math.min(last.min, value), max: Math.max(last.max, value) },
      avg: last.avg + (value - last.avg) / count,
    };
    return [...points.slice(0, -1), merged];
  }
  const begin = last === undefined ? at : last.at + Math.floor((at - last.at) / bucketSeconds) * bucketSeconds;
  return [...points, { at: begin, count: 1, min: value, max: value, avg: value }].slice(-2 * POINTS);
}
