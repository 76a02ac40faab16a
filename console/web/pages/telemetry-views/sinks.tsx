import { useSignal } from '@preact/signals';
import { type AnswerOf, api } from '../../api.ts';
import { Badge, type Tone } from '../../parts/badge.tsx';
import { Facts } from '../../parts/facts.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { countOf, countText, cursorText, spanText } from '../../quantities.ts';
import { useEvery, useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { ReplaySink, SkipMessage } from './sink-acts.tsx';

export type Sink = AnswerOf<'GET /v1/sinks'>[number];

const RELOAD_MS = 3_000;

const TONES: Readonly<Record<Sink['state'], Tone>> = {
  starting: 'info',
  forwarding: 'good',
  idle: 'good',
  down: 'bad',
  stopped: 'warn',
};

/** Where messages and events are forwarded to, how far each target is, and what operators can do. */
export function Sinks() {
  const sinks = useResource((signal) => api('GET /v1/sinks', { signal }), 'sinks');
  useEvery(RELOAD_MS, sinks.reload);
  const { value } = sinks.data;
  return (
    <>
      {sinks.problem.value !== undefined && <ProblemNotice problem={sinks.problem.value} retry={sinks.reload} />}
      {value?.length === 0 && (
        <Panel>
          <EmptyState title="No sink is configured">
            <p>
              A sink forwards each stored message, or events, to NATS, PostgreSQL, a webhook, e-mail or a file. Name it
              under <code>sinks</code> in the server's configuration (docs/sinks.md).
            </p>
          </EmptyState>
        </Panel>
      )}
      {value?.map((sink) => (
        <SinkPanel key={sink.name} sink={sink} onActed={sinks.reload} />
      ))}
    </>
  );
}

function SinkPanel({ sink, onActed }: { readonly sink: Sink; readonly onActed: () => void }) {
  const act = useSignal<'replay' | 'skip' | undefined>(undefined);
  const close = () => {
    act.value = undefined;
  };
  const { name, state, reason, since, notice, noticedAt } = sink;
  const actions = (
    <>
      <Badge tone={TONES[state]}>{state}</Badge>
      {mayAct('operator') && (
        <>
          {state === 'down' && (
            <button
              type="button"
              onClick={() => {
                act.value = 'skip';
              }}
            >
              Skip a message…
            </button>
          )}
          <button
            type="button"
            onClick={() => {
              act.value = 'replay';
            }}
          >
            Replay…
          </button>
        </>
      )}
    </>
  );
  return (
    <Panel title={name} actions={actions}>
      {state === 'down' && (
        <p class="notice bad">
          <strong class="break">
            <UntrustedText text={reason ?? 'The reason is in the log.'} max={500} />
          </strong>
          <span class="soft">
            Down since <Time at={since} relative />. Messages wait in the journal until retention removes them.
          </span>
        </p>
      )}
      {notice !== undefined && (
        <p class="notice warn">
          <span class="break">
            <UntrustedText text={notice} max={500} />
          </span>
          {noticedAt !== undefined && (
            <span class="soft">
              <Time at={noticedAt} relative />
            </span>
          )}
        </p>
      )}
      <SinkFacts sink={sink} />
      {act.value === 'replay' && <ReplaySink sink={sink} onClose={close} onActed={onActed} />}
      {act.value === 'skip' && <SkipMessage sink={sink} onClose={close} onActed={onActed} />}
    </Panel>
  );
}

function SinkFacts({ sink }: { readonly sink: Sink }) {
  const { lagMessages, lagSeconds, deadLettered, missed } = sink;
  return (
    <div class="columns">
      <Facts
        facts={[
          ['Target', `${sink.kind}: ${sink.destination}`],
          ['Source', sink.source],
          ['Filter', filterText(sink.filter)],
          ['State since', <Time key="since" at={sink.since} />],
        ]}
      />
      <Facts
        facts={[
          ['Position', cursorText(sink.position)],
          ['Behind', lagMessages === 0 ? 'nothing' : `${countOf(lagMessages, 'message')}, ${spanText(lagSeconds)}`],
          ['Forwarded', `${countText(sink.forwarded)} since the start, ${countText(sink.filtered)} filtered out`],
          ['Retries', countText(sink.retries)],
          [
            'Dead letters',
            deadLettered === 0 ? (
              'none since the start'
            ) : (
              <span key="dead">
                <Badge tone="warn">{countText(deadLettered)}</Badge> refused for good, in{' '}
                <code>{sink.deadLetterFile}</code>
              </span>
            ),
          ],
          [
            'Missed',
            missed === 0 ? undefined : (
              <span key="missed">
                <Badge tone="bad">{countText(missed)}</Badge> removed from the journal before the target had them
              </span>
            ),
          ],
        ]}
      />
    </div>
  );
}

function filterText({ devices, groups, streams }: Sink['filter']): string {
  const parts = [
    ['devices', devices],
    ['groups', groups],
    ['streams', streams],
  ] as const;
  const set = parts.filter(([, names]) => names.length > 0).map(([title, names]) => `${title} ${names.join(', ')}`);
  return set.length === 0 ? 'everything' : set.join('; ');
}
