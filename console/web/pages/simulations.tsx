import { api } from '../api.ts';
import { announce, announceProblem } from '../parts/messages.tsx';
import { PageHead } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { useQueryState } from '../query-state.ts';
import { useEvery, useResource } from '../resource.ts';
import { RunList } from './simulations/run-list.tsx';
import { RunView } from './simulations/run-view.tsx';
import { ScenarioList } from './simulations/scenario-list.tsx';
import './simulations/simulations.css';

const REFRESH_MS = 2_000;

/** Ready scenarios against a temporary server: started here, watched, and read afterwards. */
export function Simulations() {
  const [run, setRun] = useQueryState('run');
  const runs = useResource((signal) => api('GET /v1/simulations', { signal }), 'runs');
  const scenarios = useResource((signal) => api('GET /v1/simulations/scenarios', { signal }), 'scenarios');
  useEvery(REFRESH_MS, runs.reload);
  const running = runs.data.value?.find(({ state }) => state === 'running');
  const start = async (scenario: string) => {
    try {
      const started = await api('POST /v1/simulations', { body: { scenario }, idempotencyKey: crypto.randomUUID() });
      announce(`The simulation ${scenario} begins.`);
      setRun(started.id, true);
      runs.reload();
    } catch (error) {
      announceProblem(error);
    }
  };
  return (
    <>
      <PageHead
        title="Simulations"
        description="Virtual devices against a temporary server on this machine: the fleet is not touched."
      >
        {run !== '' && (
          <a class="button" href="/simulations">
            All simulations
          </a>
        )}
      </PageHead>
      {run !== '' && <RunView key={run} id={run} />}
      {run === '' && (
        <>
          {runs.problem.value !== undefined && <ProblemNotice problem={runs.problem.value} retry={runs.reload} />}
          {runs.data.value !== undefined && runs.data.value.length > 0 && <RunList runs={runs.data.value} />}
          {scenarios.problem.value !== undefined && (
            <ProblemNotice problem={scenarios.problem.value} retry={scenarios.reload} />
          )}
          {scenarios.data.value === undefined && scenarios.problem.value === undefined && (
            <p class="spinner">Reading the scenarios</p>
          )}
          {scenarios.data.value !== undefined && (
            <ScenarioList scenarios={scenarios.data.value} isBusy={running !== undefined} start={start} />
          )}
        </>
      )}
    </>
  );
}
