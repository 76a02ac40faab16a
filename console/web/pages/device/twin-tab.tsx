/** The twin of a device: what is desired beside what is reported, and a change that overwrites no other. */

import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Field } from '../../parts/field.tsx';
import { announce } from '../../parts/messages.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Table } from '../../parts/table.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useQueryState } from '../../query-state.ts';
import { useEvery, useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { readsAsJson } from './commands-tab.tsx';
import { type TwinRow, twinDifference } from './twin-difference.ts';

type Twin = AnswerOf<'GET /v1/devices/:id/twin'>;

const EVERY_MS = 3_000;
const TONES = { applied: 'good', pending: 'warn', reported: 'none' } as const;
const WORDS = { applied: 'applied', pending: 'pending', reported: 'reported only' } as const;

export function TwinTab({ id }: { readonly id: string }) {
  const twin = useResource((signal) => api('GET /v1/devices/:id/twin', { params: { id }, signal }), id);
  useEvery(EVERY_MS, twin.reload);
  const [edit, setEdit] = useQueryState('edit');
  const { value } = twin.data;
  if (value === undefined) {
    return twin.problem.value === undefined ? (
      <p class="spinner">Loading</p>
    ) : (
      <ProblemNotice problem={twin.problem.value} retry={twin.reload} />
    );
  }
  const rows = twinDifference(value.desired?.state ?? {}, value.reported?.state ?? {});
  const isEditing = edit === 'desired' && mayAct();
  const change = mayAct() && !isEditing && (
    <button type="button" onClick={() => setEdit('desired')}>
      Change the desired state
    </button>
  );
  return (
    <>
      <Panel title={titleOf(value)} actions={change} bare>
        {rows.length === 0 ? (
          <EmptyState title="The twin is empty">
            <p>A desired state says what the device should be; the device reports what it is.</p>
          </EmptyState>
        ) : (
          <Table
            caption="Desired and reported state"
            rows={rows}
            keyOf={({ path }) => JSON.stringify(path)}
            columns={[
              { title: 'Member', cell: ({ path }) => <Value text={path.join(' › ')} /> },
              { title: 'Desired', cell: ({ desired }) => <Value text={desired} /> },
              { title: 'Reported', cell: ({ reported }) => <Value text={reported} /> },
              { title: 'State', cell: ({ state }: TwinRow) => <Badge tone={TONES[state]}>{WORDS[state]}</Badge> },
            ]}
          />
        )}
      </Panel>
      {isEditing && (
        <DesiredForm
          id={id}
          twin={value}
          onDone={() => {
            setEdit('');
            twin.reload();
          }}
          onClose={() => setEdit('')}
        />
      )}
    </>
  );
}

function titleOf({ desired, reported }: Twin): string {
  const wanted = desired === undefined ? 'No desired state' : `Desired version ${desired.version}`;
  if (reported === undefined) return `${wanted}; nothing reported`;
  const of = (reported.desiredVersion ?? 0) === 0 ? '' : ` of desired version ${reported.desiredVersion}`;
  return `${wanted}; reported version ${reported.version}${of}`;
}

function Value({ text }: { readonly text: string | undefined }) {
  if (text === undefined) return <span class="soft">–</span>;
  return (
    <code class="break">
      <UntrustedText text={text} max={300} />
    </code>
  );
}

function DesiredForm(props: {
  readonly id: string;
  readonly twin: Twin;
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { id, twin } = props;
  // What the operator saw when the change began.
  const read = useSignal(twin.desired);
  const text = useSignal(JSON.stringify(read.value?.state ?? {}, undefined, 2));
  const { run, problem, isRunning } = useAct();
  const isJson = readsAsJson(text.value);
  const isStale = (twin.desired?.version ?? 0) !== (read.value?.version ?? 0);
  const send = async () => {
    const state = JSON.parse(text.value) as Record<string, unknown>;
    const body = { state, ifVersion: read.value?.version ?? 0 };
    const done = await run((idempotencyKey) =>
      api('PUT /v1/devices/:id/twin/desired', { params: { id }, body, idempotencyKey }),
    );
    if (done === undefined) return;
    announce('The desired state was changed.');
    props.onDone();
  };
  return (
    <Panel title="Change the desired state">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (isJson && !isRunning.value) void send();
        }}
      >
        <Field
          label={`Desired state, in place of version ${read.value?.version ?? 0}`}
          hint="A JSON object. It is refused when somebody changed the desired state meanwhile."
          mistake={isJson ? undefined : 'Expected JSON'}
        >
          {(ids) => (
            <textarea
              {...ids}
              rows={12}
              spellcheck={false}
              value={text}
              onInput={(event) => {
                text.value = event.currentTarget.value;
              }}
            />
          )}
        </Field>
        {isStale && (
          <div class="notice warn" role="status">
            <strong>The desired state has version {twin.desired?.version ?? 0} now.</strong>
            <div class="row">
              <button
                type="button"
                onClick={() => {
                  read.value = twin.desired;
                  text.value = JSON.stringify(twin.desired?.state ?? {}, undefined, 2);
                  problem.value = undefined;
                }}
              >
                Begin again from version {twin.desired?.version ?? 0}
              </button>
            </div>
          </div>
        )}
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        <div class="row">
          <button type="submit" class="primary" disabled={!isJson || isRunning.value}>
            Set the desired state
          </button>
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Panel>
  );
}
