import { type AnswerOf, api } from '../../api.ts';
import { Chart } from '../../parts/chart.tsx';
import { Choice } from '../../parts/choice.tsx';
import { Panel } from '../../parts/panel.tsx';
import { bytesText, countText, rateText, spanText } from '../../quantities.ts';
import { useQueryState } from '../../query-state.ts';
import { useEvery, useResource } from '../../resource.ts';

type History = AnswerOf<'GET /v1/overview/history'>;

/** Minutes by the name in the address. */
const SPANS = { '15m': 15, '1h': 60, '6h': 360 } as const;
const SPAN_TITLES = { '15m': '15 minutes', '1h': '1 hour', '6h': '6 hours' } as const;
type Span = keyof typeof SPANS;
const SAMPLE_MS = 15_000;

const NOTHING: History = {
  ...{ node: '', unanswered: [] },
  ...{ at: [], connected: [], received: [], stored: [], sent: [], queuedBytes: [], commitMs: [], busy: [] },
  ...{ refusedConnections: [], refusedEnrollments: [], refusedTopics: [] },
};

/** Lines over the last minutes or hours. They begin with the start of the server. */
export function HistoryCharts() {
  const [text, setSpan] = useQueryState('span', '1h');
  const span = Object.hasOwn(SPANS, text) ? (text as Span) : '1h';
  const minutes = SPANS[span];
  const history = useResource((signal) => api('GET /v1/overview/history', { query: { minutes }, signal }), span);
  useEvery(SAMPLE_MS, history.reload);
  const found = history.data.value ?? NOTHING;
  const until = found.at.at(-1) ?? Date.now() / 1000;
  const chart = { times: found.at, range: [until - minutes * 60, until] as const, fromZero: true, height: 150 };
  return (
    <section class="charts" aria-label="The last hours">
      <div class="row spread">
        <h2>History</h2>
        <Choice
          label="Time shown"
          value={span}
          options={Object.entries(SPAN_TITLES) as [Span, string][]}
          onChoose={setSpan}
        />
      </div>
      <div class="chart-grid">
        <Panel title="Connected">
          <Chart
            {...chart}
            values={[found.connected]}
            series={[{ label: 'clients', colour: '--accent' }]}
            whole
            format={countText}
            summary={`Connected clients over time, ${countText(found.connected.at(-1) ?? 0)} at the end`}
          />
        </Panel>
        <Panel title="Messages a second">
          <Chart
            {...chart}
            values={[found.received, found.stored, found.sent]}
            series={[
              { label: 'received', colour: '--accent' },
              { label: 'stored', colour: '--info' },
              { label: 'sent', colour: '--warn' },
            ]}
            format={rateText}
            summary={`Messages a second over time, ${rateText(found.received.at(-1) ?? 0)} received at the end`}
          />
        </Panel>
        <Panel title="Refused a minute" actions={<a href={`/refused?since=${span}`}>Show</a>}>
          <Chart
            {...chart}
            values={[found.refusedConnections, found.refusedEnrollments, found.refusedTopics].map((one) =>
              one.map((perSecond) => perSecond * 60),
            )}
            series={[
              { label: 'connections', colour: '--bad' },
              { label: 'enrollments', colour: '--warn' },
              { label: 'topics', colour: '--info' },
            ]}
            format={rateText}
            summary="Refused connections, enrollments and topics a minute over time"
          />
        </Panel>
        <Panel title="Time until stored">
          <Chart
            {...chart}
            values={[found.commitMs]}
            series={[{ label: 'mean', colour: '--accent' }]}
            format={(ms) => spanText(ms / 1000)}
            summary={`Time from receipt to acknowledgement; at most ${bytesText(Math.max(0, ...found.queuedBytes))} waited`}
          />
        </Panel>
      </div>
    </section>
  );
}
