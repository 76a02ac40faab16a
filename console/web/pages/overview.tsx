import { useRef } from 'preact/hooks';
import { type AnswerOf, api } from '../api.ts';
import { useLiveEvents } from '../live-events.ts';
import { LiveBadge } from '../parts/badge.tsx';
import { PageHead } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Unanswered } from '../parts/unanswered.tsx';
import { countOf, spanText } from '../quantities.ts';
import { useEvery, useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import { Attention, problemsOf } from './overview/attention.tsx';
import { FirstDevice } from './overview/first-device.tsx';
import { HistoryCharts } from './overview/history-charts.tsx';
import { NodesTable } from './overview/nodes-table.tsx';
import { Numbers } from './overview/numbers.tsx';
import './overview/overview.css';

const PRESENCE = ['presence.connected', 'presence.disconnected', 'presence.connect_failed'];
const FINDINGS_EVERY_MS = 30_000;
/** Where a load balancer has chosen a node of an older release, which answers for itself and says nothing of others. */
const ALONE = { node: '', nodes: [], unanswered: [] } as const;

/** Whether to worry, and where to look. */
export function Overview() {
  const overview = useResource(
    async (signal): Promise<AnswerOf<'GET /v1/overview'>> => ({
      ...ALONE,
      ...(await api('GET /v1/overview', { signal })),
    }),
    'overview',
  );
  const doctor = useResource((signal) => api('GET /v1/doctor', { query: { nodes: 'all' }, signal }), 'doctor');
  useEvery(5_000, overview.reload);
  useEvery(FINDINGS_EVERY_MS, doctor.reload);
  const live = usePresence(overview.reload);
  const { value } = overview.data;
  const findings = doctor.data.value?.findings;
  const isNew = value !== undefined && deviceCount(value) === 0;
  return (
    <>
      <PageHead title="Overview" description={value === undefined ? undefined : serverText(value)}>
        <LiveBadge state={live.value} />
      </PageHead>
      {overview.problem.value !== undefined && (
        <ProblemNotice problem={overview.problem.value} retry={overview.reload} />
      )}
      {isNew && <FirstDevice mayCreate={mayAct('operator')} />}
      {value !== undefined && findings !== undefined && <Attention problems={problemsOf(value, findings)} />}
      {value !== undefined && (
        <Unanswered nodes={[...new Set([...value.unanswered, ...(doctor.data.value?.unanswered ?? [])])]} />
      )}
      {value !== undefined && <Numbers overview={value} />}
      {value !== undefined && value.nodes.length > 1 && <NodesTable nodes={value.nodes} answering={value.node} />}
      <HistoryCharts />
    </>
  );
}

function deviceCount({ devices }: AnswerOf<'GET /v1/overview'>): number {
  return devices.active + devices.suspended + devices.quarantined + devices.revoked;
}

function serverText({ version, startedAt, time, isReady, nodes }: AnswerOf<'GET /v1/overview'>): string {
  if (nodes.length > 1) {
    const serving = nodes.filter(({ state }) => state === 'serving').length;
    return `Rollcall ${version}, ${serving} of ${countOf(nodes.length, 'node')} serving`;
  }
  const up = spanText((Date.parse(time) - Date.parse(startedAt)) / 1000);
  return `Rollcall ${version}, up ${up}${isReady ? '' : ', takes no devices at the moment'}`;
}

/** Reads the numbers again when devices connect, at most once a second. */
function usePresence(reload: () => void) {
  const waiting = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const reloadSoon = () => {
    waiting.current ??= setTimeout(() => {
      waiting.current = undefined;
      reload();
    }, 1_000);
  };
  return useLiveEvents('/v1/events/follow?type=presence', PRESENCE, { onEvent: reloadSoon, onGap: reload });
}
