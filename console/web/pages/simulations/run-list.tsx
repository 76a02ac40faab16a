import type { AnswerOf } from '../../api.ts';
import { Badge, type Tone } from '../../parts/badge.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Subject } from '../../parts/subject.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';

export type Run = AnswerOf<'GET /v1/simulations'>[number];

const STATES: Readonly<Record<Run['state'], readonly [tone: Tone, text: string]>> = {
  running: ['info', 'running'],
  passed: ['good', 'passed'],
  failed: ['bad', 'failed'],
  stopped: ['none', 'stopped'],
  broken: ['warn', 'broken'],
};

export function StateBadge({ state }: { readonly state: Run['state'] }) {
  const [tone, text] = STATES[state];
  return <Badge tone={tone}>{text}</Badge>;
}

/** The one that runs and the last ones. */
export function RunList({ runs }: { readonly runs: readonly Run[] }) {
  return (
    <Panel title="Last simulations" bare>
      <Table
        caption="List of simulations"
        rows={runs}
        keyOf={({ id }) => id}
        columns={[
          { title: 'Scenario', cell: ({ id, scenario }) => <a href={`/simulations?run=${id}`}>{scenario}</a> },
          { title: 'State', cell: ({ state }) => <StateBadge state={state} /> },
          { title: 'Started', cell: ({ startedAt }) => <Time at={startedAt} relative /> },
          { title: 'By', cell: ({ startedBy }) => <Subject subject={startedBy} /> },
        ]}
      />
    </Panel>
  );
}
