import { useSignal } from '@preact/signals';
import { type AnswerOf, ApiProblem, api } from '../../api.ts';
import { Copyable } from '../../parts/copyable.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';

/** What to do first, where no device has enrolled yet. The page shows the first one as soon as it connects. */
export function FirstDevice({ mayCreate }: { readonly mayCreate: boolean }) {
  const created = useSignal<AnswerOf<'POST /v1/tokens'> | undefined>(undefined);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  const isRunning = useSignal(false);
  const create = async () => {
    isRunning.value = true;
    try {
      created.value = await api('POST /v1/tokens', { body: {}, idempotencyKey: crypto.randomUUID() });
      problem.value = undefined;
    } catch (error) {
      problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
    }
    isRunning.value = false;
  };
  const { value } = created;
  return (
    <Panel title="Connect the first device">
      <ol class="steps">
        <li>
          <p>
            <strong>Create a bootstrap token.</strong> A device exchanges it for a certificate of its own.
          </p>
          {value === undefined && mayCreate && (
            <button type="button" class="primary" disabled={isRunning} onClick={create}>
              Create a token
            </button>
          )}
          {value === undefined && !mayCreate && <p class="soft">An operator has to do that: your role only reads.</p>}
          {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
          {value !== undefined && (
            <p class="soft">
              Token <code>{value.token.id}</code> enrolls one device until <Time at={value.token.expiresAt} />.
            </p>
          )}
        </li>
        <li>
          <p>
            <strong>Enroll the device with it.</strong>{' '}
            {value === undefined
              ? 'The command is shown here once the token exists.'
              : 'The token is in this command, and is shown only now:'}
          </p>
          {value !== undefined && (
            <Copyable
              text={`rollcall device enroll --out device --token - <<'TOKEN'\n${value.text}\nTOKEN`}
              label="the command"
            />
          )}
        </li>
        <li>
          <p>
            <strong>See it here.</strong> <span class="soft">Waiting for the first device; this page is live.</span>
          </p>
        </li>
      </ol>
    </Panel>
  );
}
