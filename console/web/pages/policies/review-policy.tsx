import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useResource } from '../../resource.ts';
import { type Policy, type Scope, scopeInWords } from './policy-document.ts';
import { PolicyDiff } from './rules.tsx';

type Preview = AnswerOf<'POST /v1/policies/:kind/:name/preview'>;

/**
 * Shows what a change of a policy takes away and adds, and whom it affects, before it is made. `after` is undefined when the
 * policy is removed. Where live sessions lose something, the operator types the scope.
 */
export function ReviewPolicy(props: {
  readonly title: string;
  readonly action: string;
  readonly scope: Scope;
  readonly before: Policy;
  readonly after: Policy | undefined;
  readonly apply: (idempotencyKey: string) => Promise<unknown>;
  readonly onDone: () => void;
  readonly onClose: () => void;
  /** Another operator changed the policy: reads it again. */
  readonly onStale: () => void;
}) {
  const { scope, before, after } = props;
  const preview = useResource(
    (signal) =>
      api('POST /v1/policies/:kind/:name/preview', {
        params: { ...scope },
        body: after === undefined ? {} : { policy: after },
        signal,
      }),
    JSON.stringify([scope, after, before]),
  );
  const { problem, run } = useAct();
  const found = preview.data.value;
  const isHarmful = found !== undefined && found.ended + found.subscriptionsLost > 0;
  const apply = async () => {
    if ((await run(props.apply)) !== undefined) props.onDone();
  };
  return (
    <Confirmation
      title={props.title}
      action={props.action}
      {...(isHarmful && { typed: `${scope.kind}/${scope.name}` })}
      act={apply}
      onClose={props.onClose}
    >
      <div class="form">
        {after === undefined ? (
          <p>The default applies to {scopeInWords(scope)} from then on.</p>
        ) : (
          <PolicyDiff before={before} after={after} />
        )}
        {found !== undefined && <Effect preview={found} />}
        {preview.problem.value !== undefined && (
          <ProblemNotice problem={preview.problem.value} retry={preview.reload} />
        )}
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        {problem.value?.code === 'precondition_failed' && (
          <p>
            Another operator changed it meanwhile; nothing was saved.{' '}
            <button
              type="button"
              onClick={() => {
                problem.value = undefined;
                props.onStale();
              }}
            >
              Compare with what is set now
            </button>
          </p>
        )}
      </div>
    </Confirmation>
  );
}

const NAMED = 8;

function Effect({ preview }: { readonly preview: Preview }) {
  const { members, sessions, ended, subscriptionsLost, lost, unanswered } = preview;
  const isHarmful = ended + subscriptionsLost > 0;
  return (
    <div class={`notice ${isHarmful ? 'warn' : 'good'}`} role="status">
      <strong>
        Decides for {plural(members, 'member')}, {plural(sessions, 'live session')}
      </strong>
      {isHarmful ? (
        <>
          {ended > 0 && <span>{plural(ended, 'session')} would end.</span>}
          {subscriptionsLost > 0 && <span>{plural(subscriptionsLost, 'subscription')} would be removed.</span>}
          <ul class="plain-list small">
            {lost.slice(0, NAMED).map(({ client, filter }) => (
              <li key={`${client} ${filter}`}>
                <UntrustedText text={client} />
                {filter === undefined ? ' ends' : ' loses '}
                {filter !== undefined && (
                  <code>
                    <UntrustedText text={filter} />
                  </code>
                )}
              </li>
            ))}
            {lost.length > NAMED && <li>…</li>}
          </ul>
        </>
      ) : (
        <span>
          No live session would end or lose a subscription. What may be published applies from the next message on.
        </span>
      )}
      {unanswered.length > 0 && <span>No answer from {unanswered.join(', ')}: its sessions are not counted.</span>}
    </div>
  );
}

function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
