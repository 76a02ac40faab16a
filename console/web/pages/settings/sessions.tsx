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
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useEvery, useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';

type Session = AnswerOf<'GET /v1/operator-sessions'>[number];

/** Where operators are signed in: an admin sees all, others their own. */
export function Sessions() {
  const sessions = useResource((signal) => api('GET /v1/operator-sessions', { signal }), 'sessions');
  useEvery(15_000, sessions.reload);
  const ending = useSignal<Session | undefined>(undefined);
  const { value } = sessions.data;
  return (
    <Panel title={mayAct('admin') ? 'Sessions of all operators' : 'Your sessions'} bare>
      {sessions.problem.value !== undefined && (
        <ProblemNotice problem={sessions.problem.value} retry={sessions.reload} />
      )}
      {value?.length === 0 && (
        <EmptyState title="Nobody is signed in">
          <p>Each sign-in with a browser is a session here, until it is ended or expires.</p>
        </EmptyState>
      )}
      {value !== undefined && value.length > 0 && (
        <Table
          caption="List of sessions"
          rows={value.toReversed()}
          keyOf={({ id }) => id}
          columns={[
            {
              title: 'Operator',
              cell: ({ operator, isCurrent }) => (
                <>
                  {operator} {isCurrent && <Badge tone="info">this browser</Badge>}
                </>
              ),
            },
            { title: 'Signed in by', cell: ({ method }) => method },
            { title: 'From', cell: ({ address }) => <code>{address}</code> },
            { title: 'Browser', cell: ({ userAgent }) => <Browser text={userAgent} /> },
            { title: 'Since', cell: ({ createdAt }) => <Time at={createdAt} relative /> },
            { title: 'Last seen', cell: ({ lastSeenAt }) => <Time at={lastSeenAt} relative /> },
            {
              title: 'Acts',
              isNumber: true,
              cell: (session) => (
                <div class="row-acts">
                  <button
                    type="button"
                    class="danger"
                    onClick={() => {
                      ending.value = session;
                    }}
                  >
                    End
                  </button>
                </div>
              ),
            },
          ]}
        />
      )}
      {ending.value !== undefined && (
        <EndSession
          session={ending.value}
          onClose={() => {
            ending.value = undefined;
          }}
          onDone={() => {
            ending.value = undefined;
            sessions.reload();
          }}
        />
      )}
    </Panel>
  );
}

/** First those whose text contains the names of others. */
const BROWSERS = [
  ['Edge', /\bEdg\/(\d+)/],
  ['Opera', /\bOPR\/(\d+)/],
  ['Firefox', /\bFirefox\/(\d+)/],
  ['Chrome', /Chrome\/(\d+)/],
  ['Safari', /\bVersion\/(\d+)\S* .*Safari/],
] as const;

/** As the browser states it, which may be anything. */
function Browser({ text }: { readonly text: string }) {
  const system = /\b(Windows|Android|iPhone|iPad|Mac OS X|Linux)\b/.exec(text)?.[1];
  const [known] = BROWSERS.flatMap(([name, pattern]) => {
    const version = pattern.exec(text)?.[1];
    return version === undefined ? [] : [`${name} ${version}`];
  });
  const short = known === undefined ? text : [known, system].filter(Boolean).join(', ');
  return (
    <span title={text}>
      <UntrustedText text={short} max={60} />
    </span>
  );
}

function EndSession(props: { readonly session: Session; readonly onDone: () => void; readonly onClose: () => void }) {
  const { id, operator, isCurrent } = props.session;
  const { problem, run } = useAct();
  const act = async () => {
    const params = { id };
    const done = await run((idempotencyKey) => api('POST /v1/operator-sessions/:id/end', { params, idempotencyKey }));
    if (done === undefined) return;
    announce(`A session of ${operator} ended.`);
    props.onDone();
  };
  return (
    <Confirmation title={`End a session of ${operator}`} action="End session" act={act} onClose={props.onClose}>
      <div class="form">
        <p>
          {isCurrent
            ? 'This is the session of this browser: you sign in again afterwards.'
            : 'That browser is signed out with its next request. It can sign in again.'}
        </p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
