import type { AnswerOf } from '../../api.ts';
import { Badge, type Tone } from '../../parts/badge.tsx';
import { Panel } from '../../parts/panel.tsx';
import { type Column, Table } from '../../parts/table.tsx';
import { countText, rateText, spanText } from '../../quantities.ts';

type Node = AnswerOf<'GET /v1/overview'>['nodes'][number];

const STATE_TONES: Readonly<Record<Node['state'], Tone>> = {
  serving: 'good',
  draining: 'warn',
  drained: 'warn',
  restarting: 'warn',
  stopped: 'warn',
  deaf: 'bad',
  gone: 'bad',
  removed: 'none',
};

const LATE_MS = 100;
const SLOW_MS = 1_000;

/** Each node of several: which of them has trouble, and how the devices are spread. */
export function NodesTable({ nodes, answering }: { readonly nodes: readonly Node[]; readonly answering: string }) {
  const columns: readonly Column<Node>[] = [
    {
      title: 'Node',
      cell: ({ name, roles }) => (
        <>
          <strong>{name}</strong> <span class="soft small">{roles.join(', ')}</span>
        </>
      ),
    },
    { title: 'State', cell: (node) => <State node={node} /> },
    { title: 'Connected', isNumber: true, cell: of(({ sessions }) => countText(sessions.connected)) },
    { title: 'Messages/s', isNumber: true, cell: of(({ perSecond }) => rateText(perSecond.received)) },
    { title: 'Refused/s', isNumber: true, cell: of(({ perSecond }) => rateText(perSecond.refused)) },
    {
      title: 'Stored within',
      isNumber: true,
      cell: of(({ journal: { commitP99Ms: ms } }) => (ms === undefined ? '–' : spanOf(ms, SLOW_MS))),
    },
    {
      title: 'Event loop',
      isNumber: true,
      cell: of(({ lagMs }) => (lagMs === undefined ? '–' : spanOf(lagMs, LATE_MS))),
    },
    { title: 'Load', isNumber: true, cell: of(({ perSecond }) => `${Math.round(perSecond.busy * 100)} %`) },
    { title: 'Journal', cell: of(({ journal }) => <Journal state={journal.state} />) },
  ];
  return (
    <Panel title={`${nodes.length} nodes`} bare>
      <Table caption="Nodes of the fleet" columns={columns} rows={nodes} keyOf={({ name }) => name} oneLine />
      <p class="panel-note soft small">
        Stored within: 99 of 100 commits of the last half minute. Event loop: how late 99 of 100 timers ran. Answered by{' '}
        {answering}.
      </p>
    </Panel>
  );
}

type Figures = NonNullable<Node['figures']>;

/** Of a node that answered. */
function of(cell: (figures: Figures) => ReturnType<Column<Node>['cell']>): Column<Node>['cell'] {
  return ({ figures }) => (figures === undefined ? '–' : cell(figures));
}

function State({ node: { state, figures } }: { readonly node: Node }) {
  if (figures === undefined && state !== 'gone' && state !== 'deaf') return <Badge tone="bad">no answer</Badge>;
  const isReady = figures === undefined || figures.isReady || state !== 'serving';
  return <Badge tone={isReady ? STATE_TONES[state] : 'bad'}>{isReady ? state : 'not ready'}</Badge>;
}

function Journal({ state }: { readonly state: Figures['journal']['state'] }) {
  return state === 'ok' ? <span class="soft">ok</span> : <Badge tone="bad">{state}</Badge>;
}

function spanOf(ms: number, tooLong: number) {
  const text = spanText(ms / 1_000);
  return ms > tooLong ? <Badge tone="warn">{text}</Badge> : text;
}
