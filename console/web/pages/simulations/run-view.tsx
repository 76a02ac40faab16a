import { type AnswerOf, api } from '../../api.ts';
import { Chart } from '../../parts/chart.tsx';
import { announceProblem } from '../../parts/messages.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';
import { useEvery, useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { ResultView } from './result-view.tsx';
import { type Run, StateBadge } from './run-list.tsx';

type Report = AnswerOf<'GET /v1/simulations/:id'>;

/** A simulation while it runs, and its result afterwards. */
export function RunView({ id }: { readonly id: string }) {
  const report = useResource((signal) => api('GET /v1/simulations/:id', { params: { id }, signal }), id);
  const { value } = report.data;
  const isRunning = value?.run.state === 'running';
  useEvery(1_000, () => {
    if (isRunning) report.reload();
  });
  if (report.problem.value !== undefined && value === undefined) {
    return <ProblemNotice problem={report.problem.value} retry={report.reload} />;
  }
  if (value === undefined) return <p class="spinner">Loading</p>;
  const { run, result } = value;
  return (
    <>
      <Panel title={run.scenario} actions={isRunning && mayAct('admin') && <Stop run={run} onDone={report.reload} />}>
        <div class="row">
          <StateBadge state={run.state} />
          <span class="soft">
            started <Time at={run.startedAt} relative /> by {run.startedBy.replace(/^operator\//, '')}
          </span>
        </div>
        {isRunning && <Progress report={value} />}
        {!isRunning && result === undefined && <NoResult state={run.state} />}
      </Panel>
      {result !== undefined && <ResultView result={result} startedAt={run.startedAt} />}
    </>
  );
}

function Progress({ report }: { readonly report: Report }) {
  const { run, seconds } = report;
  const last = seconds.at(-1);
  const share = Math.min(1, (last?.at ?? 0) / run.durationSeconds);
  return (
    <>
      <progress class="simulation-progress" aria-label="Share of the scenario" max={1} value={share} />
      {last === undefined ? (
        <p role="status">A temporary server starts.</p>
      ) : (
        <>
          <p role="status">
            Second {Math.round(last.at)} of {run.durationSeconds}: {last.connected} of {last.devices} devices connected,{' '}
            {last.acknowledged} messages acknowledged in it.
          </p>
          {seconds.length > 1 && <LiveChart report={report} />}
        </>
      )}
    </>
  );
}

function LiveChart({ report: { run, seconds } }: { readonly report: Report }) {
  const begin = Date.parse(run.startedAt) / 1_000;
  const last = seconds.at(-1);
  return (
    <Chart
      times={seconds.map(({ at }) => begin + at)}
      values={[seconds.map(({ connected }) => connected), seconds.map(({ acknowledged }) => acknowledged)]}
      series={[
        { label: 'connected', colour: '--accent' },
        { label: 'messages/s', colour: '--info' },
      ]}
      range={[begin, begin + run.durationSeconds]}
      fromZero
      whole
      summary={`${last?.connected} devices connected, ${last?.acknowledged} messages a second`}
    />
  );
}

function Stop({ run, onDone }: { readonly run: Run; readonly onDone: () => void }) {
  const stop = async () => {
    try {
      await api('POST /v1/simulations/:id/stop', { params: { id: run.id }, idempotencyKey: crypto.randomUUID() });
    } catch (error) {
      announceProblem(error);
    }
    onDone();
  };
  return (
    <button type="button" class="danger" onClick={stop}>
      Stop
    </button>
  );
}

function NoResult({ state }: { readonly state: Run['state'] }) {
  return (
    <p>
      {state === 'stopped'
        ? 'It was stopped before it had a result.'
        : 'It ended without a result. The log of the server has the reason.'}
    </p>
  );
}
