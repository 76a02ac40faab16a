import type { AnswerOf } from '../../api.ts';
import type { Tone } from '../../parts/badge.tsx';
import { Stat } from '../../parts/stat.tsx';
import { relativeTime } from '../../parts/time.tsx';
import { bytesText, countOf, countText, rateText, spanText } from '../../quantities.ts';

type OverviewAnswer = AnswerOf<'GET /v1/overview'>;
type Props = { readonly overview: OverviewAnswer };

const SLOW_COMMIT_MS = 250;
const BUSY = 0.9;

/** The few numbers that tell whether to worry, each a link to what explains it. */
export function Numbers({ overview }: Props) {
  return (
    <section class="stats" aria-label="Numbers of this moment">
      <Connected overview={overview} />
      <Throughput overview={overview} />
      <Refused overview={overview} />
      <Journal overview={overview} />
      <Sinks overview={overview} />
      <Expiry overview={overview} />
      <Disk overview={overview} />
      <Load overview={overview} />
    </section>
  );
}

function Connected({ overview: { sessions, devices } }: Props) {
  const { most } = devices;
  const enrolled = devices.active + devices.suspended + devices.quarantined;
  const isAtLeast = [devices.active, devices.suspended, devices.quarantined].includes(most);
  const restricted = devices.suspended + devices.quarantined;
  const note = `of ${isAtLeast ? 'more than ' : ''}${countOf(enrolled, 'device')}${
    restricted === 0 ? '' : `, ${countText(restricted)} suspended or in quarantine`
  }`;
  return <Stat label="Connected" value={countText(sessions.connected)} note={note} href="/devices?online=true" />;
}

function Throughput({ overview: { perSecond } }: Props) {
  const { received, stored, sent, dropped } = perSecond;
  const lost = dropped > 0 ? `, ${rateText(dropped)} dropped` : '';
  return (
    <Stat
      label="Messages a second"
      value={rateText(received)}
      note={`${rateText(stored)} stored, ${rateText(sent)} sent${lost}`}
      tone={dropped > 0 ? 'warn' : 'none'}
      href="/telemetry"
    />
  );
}

function Refused({ overview: { refusedLastHour } }: Props) {
  const { connections, enrollments, topics } = refusedLastHour;
  const sum = connections + enrollments + topics;
  const parts = [
    connections > 0 ? countOf(connections, 'connection') : '',
    enrollments > 0 ? countOf(enrollments, 'enrollment') : '',
    topics > 0 ? countOf(topics, 'topic') : '',
  ].filter(Boolean);
  return (
    <Stat
      label="Refused in the last hour"
      value={countText(sum)}
      note={sum === 0 ? 'nothing' : parts.join(', ')}
      tone={sum > 0 ? 'warn' : 'none'}
      href="/refused?since=1h"
    />
  );
}

const JOURNAL_NOTES = {
  ok: 'nothing waits',
  behind: 'storage is behind',
  held: 'the last write failed',
  'disk full': 'nothing is stored',
} as const;

function Journal({ overview: { journal } }: Props) {
  const { state, queuedBytes, commitMs, heldDevices, heldGroups } = journal;
  const held = heldDevices + heldGroups;
  const waiting = state === 'ok' && queuedBytes > 0 ? `${bytesText(queuedBytes)} wait` : JOURNAL_NOTES[state];
  const isSlow = commitMs !== undefined && commitMs > SLOW_COMMIT_MS;
  return (
    <Stat
      label="Journal lag"
      value={commitMs === undefined ? '–' : spanText(commitMs / 1000)}
      note={`${waiting}${held > 0 ? `, ${countText(held)} over their share` : ''}`}
      tone={state === 'ok' ? (isSlow || held > 0 ? 'warn' : 'none') : 'bad'}
      href="/telemetry"
    />
  );
}

function Sinks({ overview: { sinks } }: Props) {
  const down = sinks.filter(({ state }) => state === 'down');
  const lag = Math.max(0, ...sinks.map(({ lagSeconds }) => lagSeconds));
  const [first] = down;
  const note =
    sinks.length === 0
      ? 'none configured'
      : first === undefined
        ? lag < 1
          ? 'nothing waits'
          : `${spanText(lag)} behind`
        : `${first.name} is down`;
  const value = sinks.length === 0 ? '–' : `${sinks.length - down.length} of ${sinks.length} up`;
  return (
    <Stat
      label="Sinks"
      value={value}
      note={note}
      tone={down.length > 0 ? 'bad' : 'none'}
      href="/telemetry?view=sinks"
    />
  );
}

/** What does not renew by itself. All other kinds count when they are late. */
const WATCHED: Readonly<Record<string, string>> = {
  service: 'service',
  root: 'root CA',
  'issuing-ca': 'issuing CA',
  'cross-certificate': 'cross-certificate',
  'operator-key': 'API key',
};

function Expiry({ overview: { expiring, time } }: Props) {
  const late = expiring.reduce((sum, kind) => sum + kind.late, 0);
  const watched = expiring.filter(({ kind }) => Object.hasOwn(WATCHED, kind));
  const soon = watched.reduce((sum, kind) => sum + kind.in30Days, 0);
  const next = watched
    .filter(({ nextAt }) => nextAt !== undefined)
    .sort((one, other) => Date.parse(one.nextAt as string) - Date.parse(other.nextAt as string))[0];
  const first =
    next?.nextAt === undefined
      ? 'the rest renews by itself'
      : `next: ${WATCHED[next.kind]} ${relativeTime(Date.parse(next.nextAt), Date.parse(time))}`;
  const note = late > 0 ? `${countText(late)} late to renew` : first;
  return (
    <Stat
      label="Expires within 30 days"
      value={countText(soon)}
      note={note}
      tone={late > 0 || soon > 0 ? 'warn' : 'none'}
      href="/certificates"
    />
  );
}

function Disk({ overview: { journal, nodes } }: Props) {
  const { diskFreeBytes, diskFloorBytes } = journal;
  const tone: Tone = diskFreeBytes < diskFloorBytes ? 'bad' : diskFreeBytes < 4 * diskFloorBytes ? 'warn' : 'none';
  const floor = diskFloorBytes === 0 ? 'not monitored' : `stores nothing below ${bytesText(diskFloorBytes)}`;
  const label = nodes.length > 1 ? 'Disk free, where it is least' : 'Disk free';
  return <Stat label={label} value={bytesText(diskFreeBytes)} note={floor} tone={tone} href="/telemetry" />;
}

function Load({ overview: { perSecond, sessions, nodes } }: Props) {
  return (
    <Stat
      label={nodes.length > 1 ? 'Load of the busiest node' : 'Load of the server'}
      value={`${Math.round(perSecond.busy * 100)} %`}
      note={`${rateText(perSecond.connects)} connects a second, ${countText(sessions.pending)} pending`}
      tone={perSecond.busy > BUSY ? 'warn' : 'none'}
      href="/devices"
    />
  );
}
