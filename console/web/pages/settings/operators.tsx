import { useSignal } from '@preact/signals';
import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { useQueryState } from '../../query-state.ts';
import { useResource } from '../../resource.ts';
import { self } from '../../session.ts';
import { AddOperator } from './add-operator.tsx';
import { DisableOperator, ResetOperator } from './end-access.tsx';
import { MakeLink, type SignInLink, SignInLinkDialog } from './sign-in-link.tsx';

export type Operator = AnswerOf<'GET /v1/operators'>[number];
type Act = 'link' | 'disable' | 'reset';

/** Everyone who may sign in: added by a link that is shown once. */
export function Operators() {
  const operators = useResource((signal) => api('GET /v1/operators', { signal }), 'operators');
  const [dialog, setDialog] = useQueryState('dialog');
  const chosen = useSignal<{ readonly act: Act; readonly operator: Operator } | undefined>(undefined);
  const link = useSignal<SignInLink | undefined>(undefined);
  const close = () => {
    chosen.value = undefined;
  };
  const finish = () => {
    close();
    operators.reload();
  };
  const showLink = (made: SignInLink) => {
    setDialog('');
    finish();
    link.value = made;
  };
  const { value } = operators.data;
  const act = chosen.value;
  return (
    <Panel
      title="Operators"
      bare
      actions={
        <button type="button" class="primary" onClick={() => setDialog('add')}>
          Add operator
        </button>
      }
    >
      {operators.problem.value !== undefined && (
        <ProblemNotice problem={operators.problem.value} retry={operators.reload} />
      )}
      {value?.length === 0 && (
        <EmptyState title="There is no operator yet">
          <p>Add one for each person, so that the audit names who did what and one of them can be disabled alone.</p>
        </EmptyState>
      )}
      {value !== undefined && value.length > 0 && (
        <OperatorTable
          operators={value}
          choose={(name, operator) => {
            chosen.value = { act: name, operator };
          }}
        />
      )}
      {dialog === 'add' && <AddOperator onAdded={showLink} onClose={() => setDialog('')} />}
      {act?.act === 'link' && <MakeLink operator={act.operator.name} onMade={showLink} onClose={close} />}
      {act?.act === 'disable' && <DisableOperator operator={act.operator} onDone={finish} onClose={close} />}
      {act?.act === 'reset' && <ResetOperator operator={act.operator} onDone={finish} onClose={close} />}
      {link.value !== undefined && (
        <SignInLinkDialog
          link={link.value}
          onClose={() => {
            link.value = undefined;
          }}
        />
      )}
    </Panel>
  );
}

function OperatorTable(props: {
  readonly operators: readonly Operator[];
  readonly choose: (act: Act, operator: Operator) => void;
}) {
  const { choose } = props;
  const own = self.value?.actor;
  return (
    <Table
      caption="List of operators"
      rows={props.operators}
      keyOf={({ name }) => name}
      columns={[
        {
          title: 'Name',
          cell: ({ name }) => (
            <a href={`/audit?actor=${name}`} title="What this operator did">
              {name}
              {own === `operator/${name}` && ' (you)'}
            </a>
          ),
        },
        { title: 'Role', cell: ({ role }) => role },
        {
          title: 'State',
          cell: ({ state }) => <Badge tone={state === 'active' ? 'good' : 'bad'}>{state}</Badge>,
        },
        { title: 'Added', cell: ({ createdAt }) => <Time at={createdAt} relative /> },
        { title: 'By', cell: ({ createdBy }) => <span class="soft">{createdBy.replace(/^operator\//, '')}</span> },
        {
          title: 'Acts',
          isNumber: true,
          cell: (operator) => (
            <div class="row-acts">
              {operator.state === 'active' && (
                <button type="button" onClick={() => choose('link', operator)}>
                  Link
                </button>
              )}
              <button type="button" onClick={() => choose('reset', operator)}>
                Reset
              </button>
              {operator.state === 'active' && (
                <button type="button" class="danger" onClick={() => choose('disable', operator)}>
                  Disable
                </button>
              )}
            </div>
          ),
        },
      ]}
    />
  );
}
