import type { AnswerOf } from '../../api.ts';
import { Chart } from '../../parts/chart.tsx';
import { Facts } from '../../parts/facts.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';

type Result = NonNullable<AnswerOf<'GET /v1/simulations/:id'>['result']>;

interface Props {
  readonly result: Result;
  /** ISO 8601. */
  readonly startedAt: string;
}

/** Verdict and assertions, the course of the run, latencies and errors. */
export function ResultView({ result, startedAt }: Props) {
  const { problems, errors, machine, values } = result;
  const count = (metric: string) => values[metric]?.toLocaleString('en');
  return (
    <>
      {problems.map((problem) => (
        <p class="notice warn" key={problem}>
          {problem}
        </p>
      ))}
      <Assertions result={result} />
      <Course result={result} startedAt={startedAt} />
      <div class="columns">
        <Latencies result={result} />
        <Panel title="Figures">
          <Facts
            facts={[
              ['Devices', count('devices.total')],
              ['Messages sent', count('messages.sent')],
              ['Acknowledged', count('messages.acknowledged')],
              ['Lost', count('lost.journal')],
              ['Wrongly allowed', count('acts.wronglyAllowed')],
              ['Wrongly refused', count('acts.wronglyRefused')],
              ...Object.entries(errors).map(([cause, number]) => [<code>{cause}</code>, number] as never),
              ['Took', `${result.tookSeconds.toFixed(1)} s`],
              ['Machine', `${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.cpu}`],
            ]}
          />
        </Panel>
      </div>
    </>
  );
}

function Assertions({ result: { assertions, scenario } }: { readonly result: Result }) {
  const held = assertions.filter(({ holds }) => holds).length;
  return (
    <Panel title={`${held} of ${assertions.length} assertions hold`} bare>
      <p class="simulation-about soft">{scenario.about}</p>
      <Table
        caption="Assertions"
        rows={[...assertions.filter(({ holds }) => !holds), ...assertions.filter(({ holds }) => holds)]}
        keyOf={({ text }) => text}
        columns={[
          {
            title: 'Holds',
            cell: ({ holds }) => <span class={holds ? 'holds' : 'fails'}>{holds ? '✓ yes' : '✗ no'}</span>,
          },
          { title: 'Expected', cell: ({ text }) => <code>{text}</code> },
          {
            title: 'Found',
            isNumber: true,
            cell: ({ found, reason }) => (found === undefined ? reason : found.toLocaleString('en')),
          },
        ]}
      />
    </Panel>
  );
}

function Course({ result: { timeline, marks }, startedAt }: Props) {
  return (
    <Panel title="Course">
      <Chart
        times={timeline.map(({ at }) => Date.parse(startedAt) / 1_000 + at)}
        values={[timeline.map(({ connected }) => connected), timeline.map(({ acknowledged }) => acknowledged)]}
        series={[
          { label: 'connected', colour: '--accent' },
          { label: 'messages/s', colour: '--info' },
        ]}
        fromZero
        whole
        summary="Connected devices and acknowledged messages of each second"
      />
      {marks.length > 0 && (
        <ol class="simulation-marks soft">
          {marks.map(({ at, text }) => (
            <li key={`${at} ${text}`}>
              <span class="number">{at} s</span> {text}
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}

function Latencies({ result: { latencies } }: { readonly result: Result }) {
  return (
    <Panel title="Latencies" bare>
      <Table
        caption="Latencies by kind"
        rows={Object.entries(latencies)}
        keyOf={([name]) => name}
        columns={[
          { title: 'Of', cell: ([name]) => name },
          { title: 'p50', isNumber: true, cell: ([, { p50 }]) => <Milliseconds value={p50} /> },
          { title: 'p99', isNumber: true, cell: ([, { p99 }]) => <Milliseconds value={p99} /> },
          { title: 'max', isNumber: true, cell: ([, { max }]) => <Milliseconds value={max} /> },
        ]}
      />
    </Panel>
  );
}

function Milliseconds({ value }: { readonly value: number }) {
  return <span class="unbroken">{value.toLocaleString('en', { maximumFractionDigits: 1 })} ms</span>;
}
