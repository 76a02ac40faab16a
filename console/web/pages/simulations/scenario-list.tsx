import type { AnswerOf } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Panel } from '../../parts/panel.tsx';
import { mayAct } from '../../session.ts';

type Scenario = AnswerOf<'GET /v1/simulations/scenarios'>[number];

/** Such a one ends while one watches it. */
const QUICK_SECONDS = 20;
const QUICK_DEVICES = 60;
const OBSTACLES = {
  too_large: 'too large to run beside a fleet',
  needs_root: 'needs root, for a disk of its own',
} as const;

/** Those that can be started first, the quickest at the top. */
export function ScenarioList(props: {
  readonly scenarios: readonly Scenario[];
  readonly isBusy: boolean;
  readonly start: (scenario: string) => void;
}) {
  const { isBusy, start } = props;
  const byDuration = props.scenarios.toSorted((one, other) => one.durationSeconds - other.durationSeconds);
  const sorted = [
    ...byDuration.filter(({ obstacle }) => obstacle === undefined),
    ...byDuration.filter(({ obstacle }) => obstacle !== undefined),
  ];
  return (
    <Panel title="Ready scenarios" bare>
      <ul class="scenarios">
        {sorted.map((scenario) => (
          <li key={scenario.name}>
            <div>
              <div class="row">
                <strong>{scenario.name}</strong>
                {isQuick(scenario) && <Badge tone="info">quick</Badge>}
                <span class="soft small">
                  {scenario.devices.toLocaleString('en')} devices, {scenario.durationSeconds} s
                </span>
              </div>
              <p class="soft">{scenario.about}</p>
              {scenario.obstacle !== undefined && (
                <p class="small">
                  Not from here: {OBSTACLES[scenario.obstacle]}. On another machine:{' '}
                  <code>rollcall simulate --scenario {scenario.name}</code>
                </p>
              )}
            </div>
            {mayAct('admin') && scenario.obstacle === undefined && (
              <button
                type="button"
                disabled={isBusy}
                aria-label={`Start ${scenario.name}`}
                onClick={() => start(scenario.name)}
              >
                Start
              </button>
            )}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function isQuick({ obstacle, durationSeconds, devices }: Scenario): boolean {
  return obstacle === undefined && durationSeconds <= QUICK_SECONDS && devices <= QUICK_DEVICES;
}
