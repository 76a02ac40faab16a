import { useSignal } from '@preact/signals';
import { useLocation } from 'preact-iso';
import { type AnswerOf, api } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { Dialog } from '../parts/dialog.tsx';
import { Field } from '../parts/field.tsx';
import { EmptyState, PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Subject } from '../parts/subject.tsx';
import { Table } from '../parts/table.tsx';
import { Time } from '../parts/time.tsx';
import { useQueryState } from '../query-state.ts';
import { useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import '../styles/trust.css';
import { ExplainTopic } from './policies/explain-topic.tsx';
import { parseScope, policyPath } from './policies/policy-document.ts';

type ListedPolicy = AnswerOf<'GET /v1/policies'>[number];

/** Which policies there are, and for whom each decides. */
export function Policies() {
  const policies = useResource((signal) => api('GET /v1/policies', { signal }), 'policies');
  const [dialog, setDialog] = useQueryState('dialog');
  const { value } = policies.data;
  return (
    <>
      <PageHead title="Policies" description="What devices and services may do. What no rule allows is refused.">
        {mayAct() && (
          <button type="button" class="primary" onClick={() => setDialog('new')}>
            New policy
          </button>
        )}
      </PageHead>
      {policies.problem.value !== undefined && (
        <ProblemNotice problem={policies.problem.value} retry={policies.reload} />
      )}
      {value !== undefined && <PolicyList policies={value} />}
      <ExplainTopic />
      {dialog === 'new' && mayAct() && <NewPolicy onClose={() => setDialog('')} />}
    </>
  );
}

function PolicyList({ policies }: { readonly policies: readonly ListedPolicy[] }) {
  const [text, setText] = useQueryState('q');
  const [show, setShow] = useQueryState('show', 'all');
  const shown = policies.filter(
    ({ scope, isDefault }) => scope.toLowerCase().includes(text.toLowerCase()) && (show !== 'own' || !isDefault),
  );
  return (
    <Panel bare>
      <div class="filters">
        <input
          type="search"
          aria-label="Find by group or service"
          placeholder="Group or service"
          value={text}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
        <select aria-label="Which" value={show} onChange={({ currentTarget }) => setShow(currentTarget.value)}>
          <option value="all">All groups and services</option>
          <option value="own">With a policy of their own</option>
        </select>
        <span class="soft small" role="status">
          {shown.length} of {policies.length}
        </span>
      </div>
      {shown.length === 0 ? (
        <EmptyState title="None matches">
          <p>
            {show === 'own'
              ? 'Every group and service uses a default. Give one a policy of its own where it needs other rights.'
              : 'A group or service appears here once it has members or a policy.'}
          </p>
        </EmptyState>
      ) : (
        <Table oneLine caption="Policies" rows={shown} columns={COLUMNS} keyOf={({ scope }) => scope} />
      )}
    </Panel>
  );
}

const COLUMNS = [
  {
    title: 'For',
    cell: ({ scope }: ListedPolicy) => <a href={policyPath(parseScope(scope))}>{scope}</a>,
  },
  {
    title: 'Policy',
    cell: ({ isDefault, decidedBy }: ListedPolicy) =>
      isDefault ? (
        <Badge>{decidedBy === 'built-in' ? 'built-in' : `as ${decidedBy}`}</Badge>
      ) : (
        <Badge tone="info">own</Badge>
      ),
  },
  { title: 'Members', isNumber: true, cell: ({ members }: ListedPolicy) => members.toLocaleString('en') },
  {
    title: 'Rules',
    cell: ({ rules }: ListedPolicy) => (
      <span class="soft">
        publish {rules.publish} · subscribe {rules.subscribe} · receive {rules.receive}
      </span>
    ),
  },
  { title: 'Set', cell: ({ setAt }: ListedPolicy) => setAt !== undefined && <Time at={setAt} relative /> },
  { title: 'By', cell: ({ setBy }: ListedPolicy) => setBy !== undefined && <Subject subject={setBy} /> },
] as const;

function NewPolicy({ onClose }: { readonly onClose: () => void }) {
  const { route } = useLocation();
  const kind = useSignal<'group' | 'service'>('group');
  const name = useSignal('');
  const submit = (event: Event) => {
    event.preventDefault();
    route(`${policyPath({ kind: kind.value, name: name.value })}?edit=yes`);
  };
  return (
    <Dialog title="New policy" onClose={onClose}>
      <form class="form" onSubmit={submit}>
        <div class="form-columns">
          <Field label="For a">
            {(ids) => (
              <select
                {...ids}
                value={kind}
                onChange={({ currentTarget }) => {
                  kind.value = currentTarget.value as 'group' | 'service';
                }}
              >
                <option value="group">group of devices</option>
                <option value="service">service</option>
              </select>
            )}
          </Field>
          <Field label="Name" hint="It may have no members yet.">
            {(ids) => (
              <input
                {...ids}
                required
                pattern="[A-Za-z0-9][A-Za-z0-9._\-]{0,63}"
                autocomplete="off"
                value={name}
                onInput={({ currentTarget }) => {
                  name.value = currentTarget.value;
                }}
              />
            )}
          </Field>
        </div>
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary">
            Edit its rules
          </button>
        </div>
      </form>
    </Dialog>
  );
}
