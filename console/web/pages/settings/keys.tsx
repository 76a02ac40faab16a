import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { useQueryState } from '../../query-state.ts';
import { useResource } from '../../resource.ts';
import { CreatedKey, CreateKey } from './create-key.tsx';

type Key = AnswerOf<'GET /v1/operator-keys'>[number];

const TONES = { usable: 'good', disabled: 'bad', expired: 'warn', revoked: 'none' } as const;

/** API keys of all operators, those that work first. */
export function Keys() {
  const keys = useResource((signal) => api('GET /v1/operator-keys', { signal }), 'keys');
  const [dialog, setDialog] = useQueryState('dialog');
  const [shown, setShown] = useQueryState('keys', 'usable');
  const created = useSignal<AnswerOf<'POST /v1/operator-keys'> | undefined>(undefined);
  const ending = useSignal<Key | undefined>(undefined);
  const rows = (keys.data.value ?? []).filter(({ state }) => shown === 'all' || state === 'usable').reverse();
  return (
    <Panel
      title="API keys"
      bare
      actions={
        <>
          <select aria-label="Which keys" value={shown} onChange={({ currentTarget }) => setShown(currentTarget.value)}>
            <option value="usable">Usable</option>
            <option value="all">All</option>
          </select>
          <button type="button" class="primary" onClick={() => setDialog('create')}>
            Create key
          </button>
        </>
      }
    >
      {keys.problem.value !== undefined && <ProblemNotice problem={keys.problem.value} retry={keys.reload} />}
      {keys.data.value !== undefined && rows.length === 0 && (
        <EmptyState title="There is no usable API key">
          <p>A program uses the HTTP API by a key of its operator. It has a role and an end.</p>
        </EmptyState>
      )}
      {rows.length > 0 && (
        <KeyTable
          keys={rows}
          revoke={(key) => {
            ending.value = key;
          }}
        />
      )}
      {dialog === 'create' && (
        <CreateKey
          onClose={() => setDialog('')}
          onCreated={(answer) => {
            setDialog('');
            keys.reload();
            created.value = answer;
          }}
        />
      )}
      {created.value !== undefined && (
        <CreatedKey
          created={created.value}
          onClose={() => {
            created.value = undefined;
          }}
        />
      )}
      {ending.value !== undefined && (
        <RevokeKey
          apiKey={ending.value}
          onClose={() => {
            ending.value = undefined;
          }}
          onDone={() => {
            ending.value = undefined;
            keys.reload();
          }}
        />
      )}
    </Panel>
  );
}

function KeyTable({ keys, revoke }: { readonly keys: readonly Key[]; readonly revoke: (key: Key) => void }) {
  return (
    <Table
      caption="List of API keys"
      rows={keys}
      keyOf={({ id }) => id}
      columns={[
        { title: 'Key', cell: ({ id }) => <code>{id}</code> },
        { title: 'Operator', cell: ({ operator }) => operator },
        { title: 'Role', cell: ({ role }) => role },
        { title: 'State', cell: ({ state }) => <Badge tone={TONES[state]}>{state}</Badge> },
        {
          title: 'Last used',
          cell: ({ lastUsedAt }) =>
            lastUsedAt === undefined ? <span class="soft">never</span> : <Time at={lastUsedAt} relative />,
        },
        { title: 'Expires', cell: ({ expiresAt }) => <Time at={expiresAt} relative /> },
        {
          title: 'Acts',
          isNumber: true,
          cell: (key) =>
            key.state === 'revoked' ? null : (
              <div class="row-acts">
                <button type="button" class="danger" onClick={() => revoke(key)}>
                  Revoke
                </button>
              </div>
            ),
        },
      ]}
    />
  );
}

function RevokeKey(props: { readonly apiKey: Key; readonly onDone: () => void; readonly onClose: () => void }) {
  const { id, operator } = props.apiKey;
  const { problem, run } = useAct();
  const act = async () => {
    const params = { id };
    const done = await run((idempotencyKey) => api('POST /v1/operator-keys/:id/revoke', { params, idempotencyKey }));
    if (done === undefined) return;
    announce(`Key ${id} is revoked.`);
    props.onDone();
  };
  return (
    <Confirmation title={`Revoke key ${id}`} action="Revoke key" act={act} onClose={props.onClose}>
      <div class="form">
        <p>The next request with this key of {operator} is refused, and its open streams end.</p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
