import { useRef } from 'preact/hooks';
import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Choice } from '../../parts/choice.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Column, Table } from '../../parts/table.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { bytesText, countText, rateText } from '../../quantities.ts';
import { useQueryState } from '../../query-state.ts';
import { useEvery, useResource } from '../../resource.ts';

type Answer = AnswerOf<'GET /v1/telemetry/talkers'>;
type Talker = Answer['devices'][number];

const RELOAD_MS = 5_000;
const SHOWN = 25;

/** Devices and groups that stored most since the day began in UTC, and what they send at the moment. */
export function Talkers() {
  const [text, setBy] = useQueryState('by', 'bytes');
  const by = text === 'messages' ? 'messages' : 'bytes';
  const talkers = useResource(
    (signal) => api('GET /v1/telemetry/talkers', { query: { by, limit: SHOWN }, signal }),
    by,
  );
  useEvery(RELOAD_MS, talkers.reload);
  const { value } = talkers.data;
  const rates = useRates(value);
  if (talkers.problem.value !== undefined) {
    return <ProblemNotice problem={talkers.problem.value} retry={talkers.reload} />;
  }
  if (value === undefined) return null;
  const choice = (
    <Choice
      label="Order"
      value={by}
      options={[
        ['bytes', 'By bytes'],
        ['messages', 'By messages'],
      ]}
      onChoose={setBy}
    />
  );
  return (
    <>
      <Panel title="Devices that stored most today" actions={choice} bare>
        {value.devices.length === 0 ? (
          <NoTalkers isCounted={value.isCounted} />
        ) : (
          <Table
            caption="Devices and what they stored"
            columns={columnsOf('Device', deviceCell, value.deviceShareBytes, rates)}
            rows={value.devices}
            keyOf={({ name }) => name}
          />
        )}
      </Panel>
      {value.groups.length > 0 && (
        <Panel title="Groups" bare>
          <Table
            caption="Groups and what they stored"
            columns={columnsOf('Group', groupCell, value.groupShareBytes, rates)}
            rows={value.groups}
            keyOf={({ name }) => name}
          />
        </Panel>
      )}
    </>
  );
}

function NoTalkers({ isCounted }: { readonly isCounted: boolean }) {
  return (
    <EmptyState title={isCounted ? 'No telemetry today' : 'Not counted'}>
      <p>
        {isCounted
          ? 'Devices that publish telemetry appear here with what they stored since midnight, UTC.'
          : 'What devices store is counted where telemetry.shares sets a share of devices or groups.'}
      </p>
    </EmptyState>
  );
}

function deviceCell({ name }: Talker) {
  return (
    <a href={`/devices/${encodeURIComponent(name)}`}>
      <UntrustedText text={name} />
    </a>
  );
}

function groupCell({ name }: Talker) {
  return (
    <a href={`/devices?group=${encodeURIComponent(name)}`}>
      <UntrustedText text={name} />
    </a>
  );
}

function columnsOf(
  title: string,
  cell: Column<Talker>['cell'],
  share: number,
  rates: ReadonlyMap<string, Rate>,
): readonly Column<Talker>[] {
  return [
    { title, cell },
    { title: 'Messages', isNumber: true, cell: ({ messages }) => countText(messages) },
    { title: 'Bytes', isNumber: true, cell: ({ bytes }) => bytesText(bytes) },
    {
      title: 'Messages / s',
      isNumber: true,
      cell: ({ name }) => textOf(rates.get(`${title} ${name}`)?.messages, rateText),
    },
    { title: 'Bytes / s', isNumber: true, cell: ({ name }) => textOf(rates.get(`${title} ${name}`)?.bytes, bytesText) },
    {
      title: 'Of its share',
      isNumber: true,
      cell: ({ bytes, isHeld }) =>
        isHeld ? <Badge tone="warn">held back</Badge> : share === 0 ? '–' : partText(bytes / share),
    },
  ];
}

function textOf(value: number | undefined, format: (value: number) => string): string {
  return value === undefined ? '–' : format(value);
}

function partText(part: number): string {
  const percent = part * 100;
  return percent > 0 && percent < 0.1 ? '< 0.1 %' : `${percent.toFixed(1)} %`;
}

interface Rate {
  readonly messages: number;
  readonly bytes: number;
}

/** Between the two newest answers. A name that is new in the answer, or a new day, has no rate. */
function useRates(answer: Answer | undefined): ReadonlyMap<string, Rate> {
  const state = useRef<{ answer: Answer | undefined; rates: ReadonlyMap<string, Rate> }>({
    answer: undefined,
    rates: new Map(),
  });
  const { answer: before } = state.current;
  if (answer !== undefined && answer !== before) {
    const rates = before === undefined || before.since !== answer.since ? new Map() : ratesOf(before, answer);
    state.current = { answer, rates };
  }
  return state.current.rates;
}

function ratesOf(before: Answer, after: Answer): Map<string, Rate> {
  const seconds = (Date.parse(after.time) - Date.parse(before.time)) / 1000;
  const rates = new Map<string, Rate>();
  if (seconds < 1) return rates;
  for (const [title, earlier, later] of [
    ['Device', before.devices, after.devices],
    ['Group', before.groups, after.groups],
  ] as const) {
    const known = new Map(earlier.map((talker) => [talker.name, talker]));
    for (const { name, messages, bytes } of later) {
      const one = known.get(name);
      if (one === undefined) continue;
      rates.set(`${title} ${name}`, {
        messages: Math.max(0, messages - one.messages) / seconds,
        bytes: Math.max(0, bytes - one.bytes) / seconds,
      });
    }
  }
  return rates;
}
