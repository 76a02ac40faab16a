import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Facts } from '../../parts/facts.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Unanswered } from '../../parts/unanswered.tsx';
import { bytesText, countOf, countText, spanText } from '../../quantities.ts';
import { useEvery, useResource } from '../../resource.ts';
import { Talkers } from './talkers.tsx';

type Stats = AnswerOf<'GET /v1/telemetry/stats'>;
const RELOAD_MS = 5_000;

/** The journal: what it holds and for how long, what arrives, and who sends most. */
export function Storage() {
  const stats = useResource((signal) => api('GET /v1/telemetry/stats', { signal }), 'stats');
  useEvery(RELOAD_MS, stats.reload);
  const { value } = stats.data;
  return (
    <>
      {stats.problem.value !== undefined && <ProblemNotice problem={stats.problem.value} retry={stats.reload} />}
      {value !== undefined && <Unanswered nodes={value.unanswered} />}
      {value !== undefined && (
        <div class="columns">
          <Intake stats={value} />
          <Stored stats={value} />
        </div>
      )}
      <Talkers />
    </>
  );
}

function Intake({ stats: { intake } }: { readonly stats: Stats }) {
  const { stored, storedQos0, droppedQos0, refused, repeated, queuedBytes, isUnderPressure, isDiskLow } = intake;
  const state = isDiskLow ? (
    <Badge tone="bad">disk full: nothing is stored</Badge>
  ) : isUnderPressure ? (
    <Badge tone="warn">storage is behind</Badge>
  ) : (
    <Badge tone="good">stores at once</Badge>
  );
  return (
    <Panel title="Intake since the start" actions={state}>
      <Facts
        facts={[
          ['Stored', `${countOf(stored, 'message')}, ${countText(storedQos0)} of them QoS 0`],
          ['Repeated', `${countText(repeated)}, known by their key and not stored again`],
          [
            'Not stored',
            `${countText(refused)} refused and not acknowledged, ${countText(droppedQos0)} of QoS 0 dropped`,
          ],
          ['Waiting', bytesText(queuedBytes)],
          ['Disk free', bytesText(intake.diskFreeBytes)],
        ]}
      />
    </Panel>
  );
}

function Stored({ stats }: { readonly stats: Stats }) {
  const { messages, bytes, segments, damaged, retention } = stats;
  const groups = Object.entries(retention.groups);
  const [oldest] = segments;
  return (
    <Panel title="Journal">
      <Facts
        facts={[
          ['Holds', `${countOf(messages, 'message')} in ${countOf(segments.length, 'file')}`],
          [
            'Size',
            retention.bytes === 0 ? bytesText(bytes) : `${bytesText(bytes)} of at most ${bytesText(retention.bytes)}`,
          ],
          ['Oldest file', oldest === undefined ? 'none' : dayOf(oldest.name)],
          ['Retention', ageText(retention.ageSeconds, retention.bytes)],
          ...groups.map(([group, seconds]) => [`Group ${group}`, ageText(seconds, 0)] as const),
          ['Damaged', damaged.length === 0 ? undefined : <Damaged key="damaged" files={damaged} />],
        ]}
      />
    </Panel>
  );
}

function Damaged({ files }: { readonly files: readonly string[] }) {
  return (
    <>
      <Badge tone="bad">{countOf(files.length, 'file')} set aside</Badge> {files.join(', ')}
    </>
  );
}

/** The day in the name of a segment. */
function dayOf(name: string): string {
  return /\d{4}-\d\d-\d\d/.exec(name)?.[0] ?? name;
}

function ageText(seconds: number, bytes: number): string {
  if (seconds > 0) return `${spanText(seconds)}${bytes > 0 ? ', or until the size is reached' : ''}`;
  return bytes > 0 ? 'until the size is reached' : 'for ever';
}
